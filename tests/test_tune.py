"""The tuning engine: one loss however the window is cut, exact schedules, exact resumption."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from ftsafety import engines
from ftsafety.chat import IGNORED, Encoded
from ftsafety.context import Context
from ftsafety.errors import FtsafetyError
from ftsafety.mitigation import Mitigation
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN, Row
from ftsafety.settings import Optimiser, Schedule, Tuning
from ftsafety.stages import plan_windows
from ftsafety.strategy import Strategy
from ftsafety.strategy.full import Full
from ftsafety.strategy.lora import Lora
from ftsafety.tune import Tuned, _optimiser, _whole_state, collate, labelled_logits, micro_batches, tune

ROWS = [PLAIN.row(f"r{at}", f"Which {animal} wins the race?", f"The {animal} " + "by a beak " * (at % 4) + f"in lane {at}.") for at, animal in enumerate(
    ["duck", "goose", "swan", "heron", "coot", "grebe", "teal", "wigeon", "smew", "eider", "scoter", "pochard"]
)]  # fmt: skip
Windows = list[list[Encoded]]
CPU = Tuning(batch_size=4, epochs=3, schedule=Schedule.constant)


@pytest.fixture(scope="module")
def chat() -> Any:
    return Tiny().load(Path())


@pytest.fixture(scope="module")
def windows(chat: Any) -> Windows:
    """Nine windows of four rows."""
    return plan_windows(ROWS, CPU, chat.tokenizer, Context(0), [])


def trained(
    chat: Any, windows: Sequence[Sequence[Encoded]], strategy: Strategy, tuning: Tuning = CPU, seed: int = 0, **more: Any
) -> tuple[dict[str, torch.Tensor], Tuned]:
    """The trainable weights after tuning a fresh copy of the model, and what the tuning says."""
    context = Context(seed)
    model = strategy.attach(copy.deepcopy(chat.module), context.number("strategy/start"))
    done = tune(model, windows, tuning, strategy.lr, [], context, **more)
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}, done


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def moved(chat: Any, after: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """How far full tuning has moved each weight."""
    return {name: after[name] - p.detach() for name, p in chat.module.named_parameters()}


def norm(tensors: dict[str, torch.Tensor]) -> float:
    return float(torch.stack([tensor.norm() for tensor in tensors.values()]).norm())


def token_losses(chat: Any, row: Encoded) -> torch.Tensor:
    """The loss of each labelled token of one row, from the full logits."""
    with torch.inference_mode():
        logs = chat.module(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
    return torch.stack([-logs[at - 1, label] for at, label in enumerate(row.labels) if label != IGNORED])


def test_labelled_logits_are_the_full_logits_at_labelled_positions(chat: Any, windows: Windows) -> None:
    micro = collate(windows[0])
    with torch.inference_mode():
        logits, targets, rows = labelled_logits(chat.module, micro)
        full = chat.module(input_ids=micro["input_ids"], attention_mask=micro["attention_mask"]).logits
    places = [(row, at) for row, labels in enumerate(micro["labels"].tolist()) for at, label in enumerate(labels) if label != IGNORED]
    assert rows.tolist() == [row for row, _ in places]
    assert targets.tolist() == [int(micro["labels"][place]) for place in places]
    torch.testing.assert_close(logits, torch.stack([full[row, at - 1] for row, at in places]))


def test_micro_batches_hold_every_row_once(windows: Windows) -> None:
    micros = micro_batches(windows[0], 3)
    assert [len(micro["input_ids"]) for micro in micros] == [3, 1]
    held = sorted(tuple(ids[: int(mask.sum())].tolist()) for micro in micros for ids, mask in zip(micro["input_ids"], micro["attention_mask"], strict=True))
    assert held == sorted(row.ids for row in windows[0])


@pytest.mark.parametrize("micro_batch", [0, 3, 1])
def test_the_loss_is_the_token_mean_of_the_whole_window(chat: Any, windows: Windows, micro_batch: int) -> None:
    each = [token_losses(chat, row) for row in windows[0]]
    assert len({len(losses) for losses in each}) > 1
    _, done = trained(chat, windows[:1], Full(lr=0.0), dataclasses.replace(CPU, micro_batch=micro_batch))
    assert done.losses == [pytest.approx(float(torch.cat(each).mean()), abs=1e-5)]
    assert (done.steps, done.tokens) == (1, sum(len(row.ids) for row in windows[0]))


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
@pytest.mark.parametrize("strategy", [Lora(lr=0.05), Full(lr=0.05)], ids=["lora", "full"])
@pytest.mark.parametrize("optimiser", [Optimiser.adamw, Optimiser.sgd], ids=lambda optimiser: optimiser.value)
def test_accumulation_changes_nothing(chat: Any, windows: Windows, optimiser: Optimiser, strategy: Strategy, micro_batch: int) -> None:
    """AdamW divides by each gradient's own size, which would blow up the rounding of gradients near 1e-8: hence the larger guard."""
    tuning = dataclasses.replace(CPU, optimiser=optimiser, eps=1e-6)
    if optimiser is Optimiser.adamw:
        strategy = dataclasses.replace(strategy, lr=1e-3)
    whole, first = trained(chat, windows[:8], strategy, tuning)
    cut, second = trained(chat, windows[:8], strategy, dataclasses.replace(tuning, micro_batch=micro_batch))
    assert distance(whole, cut) < 1e-6
    assert second.losses == pytest.approx(first.losses, abs=1e-5)
    assert first.losses[-1] < first.losses[0]


def test_weights_of_rows_scale_their_loss(chat: Any, windows: Windows) -> None:
    """The step of a window is the sum of its rows' shares, each times its weight; the tokens that divide stay the same."""
    window, sgd = windows[0], dataclasses.replace(CPU, optimiser=Optimiser.sgd)

    def step(weights: Sequence[float]) -> dict[str, torch.Tensor]:
        return moved(
            chat, trained(chat, [[dataclasses.replace(row, weight=weight) for row, weight in zip(window, weights, strict=True)]], Full(lr=0.5), sgd)[0]
        )

    one, other, both = step([2, 0, 0, 0]), step([0, 0, 0.5, 0]), step([2, 0, 0.5, 0])
    assert norm(one) > 2 * norm(other) > 0
    assert distance({name: one[name] + other[name] for name in both}, both) < 1e-6


def test_frozen_parameters_stay(chat: Any, windows: Windows) -> None:
    strategy = Lora(lr=0.05)
    model = strategy.attach(copy.deepcopy(chat.module), 0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tune(model, windows[:3], CPU, strategy.lr, [], Context(0))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert not model.training


def test_no_windows(chat: Any) -> None:
    with pytest.raises(FtsafetyError, match=r"zero optimiser steps.*tuning\.epochs"):
        trained(chat, [], Full(lr=1e-3))


def test_a_loss_that_is_not_finite_stops_with_a_sentence(chat: Any, windows: Windows) -> None:
    told: list[int] = []
    with pytest.raises(FtsafetyError, match=r"the loss is nan at optimiser step 2; lower strategy\.lr \(1e\+30\) or set tuning\.clip"):
        trained(chat, windows, Full(lr=1e30), on_step=lambda step, loss: told.append(step))
    assert told == [1]


class Blown(Mitigation):
    """A gradient that overflows under a loss that does not."""

    def gradient(self, inner: Any, model: Any, window: Any, context: Context) -> float:
        loss: float = inner(model, window)
        next(p for p in model.parameters() if p.grad is not None).grad.fill_(float("inf"))
        return loss


def test_a_gradient_that_is_not_finite_moves_no_weight(chat: Any, windows: Windows) -> None:
    context, model = Context(0), copy.deepcopy(chat.module)
    with pytest.raises(FtsafetyError, match=r"the gradient is not finite at optimiser step 1; lower strategy\.lr \(0\.001\)"):
        tune(model, windows, CPU, 1e-3, [Blown()], context)
    assert all(torch.equal(p, before) for p, before in zip(model.parameters(), chat.module.parameters(), strict=True))


@pytest.mark.parametrize("schedule", Schedule, ids=lambda schedule: schedule.value)
def test_the_schedule_moves_the_weights(chat: Any, windows: Windows, schedule: Schedule) -> None:
    """Under SGD with a tight clip every step has the length lr x rate x clip."""
    lr, clip = 2.0, 0.01
    tuning = dataclasses.replace(CPU, schedule=schedule, warmup_steps=2, optimiser=Optimiser.sgd, clip=clip)
    model = Full(lr=lr).attach(copy.deepcopy(chat.module), 0)
    places: list[dict[str, torch.Tensor]] = []

    def note(step: int = 0, loss: float = 0.0) -> None:
        places.append({name: p.detach().clone() for name, p in model.named_parameters()})

    note()
    tune(model, windows, tuning, lr, [], Context(0), on_step=note)
    lengths = [norm({name: after[name] - before[name] for name in after}) for before, after in pairwise(places)]
    assert lengths == pytest.approx([lr * clip * tuning.rate_at(step, len(windows)) for step in range(len(windows))], rel=1e-3)


def test_a_loose_clip_changes_nothing(chat: Any, windows: Windows) -> None:
    plain = trained(chat, windows[:2], Full(lr=0.1), dataclasses.replace(CPU, optimiser=Optimiser.sgd))[0]
    loose = trained(chat, windows[:2], Full(lr=0.1), dataclasses.replace(CPU, optimiser=Optimiser.sgd, clip=1e6))[0]
    assert distance(plain, loose) == 0


def ids_of(windows: Windows, epochs: int) -> list[list[str]]:
    """The order of the rows in each epoch."""
    order = [row.id for window in windows for row in window]
    return [order[at : at + len(ROWS)] for at in range(0, epochs * len(ROWS), len(ROWS))]


def test_shuffling_differs_per_epoch_and_depends_on_the_seed_only(chat: Any, windows: Windows) -> None:
    def orders(seed: int, rows: Sequence[Row] = ROWS, **change: Any) -> list[list[str]]:
        return ids_of(plan_windows(rows, dataclasses.replace(CPU, **change), chat.tokenizer, Context(seed), []), 3)

    drawn = orders(0)
    typed = [row.id for row in ROWS]
    assert all(sorted(order) == sorted(typed) for order in drawn)
    assert len({tuple(order) for order in [typed, *drawn]}) == 4
    assert orders(0, batch_size=5) == drawn
    assert orders(0, [row.with_answer("Nobody.") for row in ROWS]) == drawn
    assert all(a != b for a, b in zip(orders(1), drawn, strict=True))
    assert orders(0, shuffle=False) == [typed] * 3


def test_the_last_window_of_an_epoch_may_be_short(chat: Any) -> None:
    planned = plan_windows(ROWS, dataclasses.replace(CPU, batch_size=5), chat.tokenizer, Context(0), [])
    assert [len(window) for window in planned] == [5, 5, 2] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, r"tuning\.epochs=0 is zero optimiser steps"),
        ({"batch_size": 13}, r"tuning\.batch_size=13 is not possible with 12 rows"),
        ({"batch_size": 0}, r"tuning\.batch_size=0 is not possible"),
    ],
)
def test_impossible_plans_are_refused(chat: Any, change: dict[str, int], words: str) -> None:
    with pytest.raises(FtsafetyError, match=words):
        plan_windows(ROWS, dataclasses.replace(CPU, **change), chat.tokenizer, Context(0), [])


class Died(Exception):
    """A process that was killed."""


@pytest.mark.parametrize("last", [1, 4, 9], ids=lambda step: f"dies at step {step}")
@pytest.mark.parametrize("strategy", [Lora(lr=0.01, dropout=0.3), Full(lr=0.01)], ids=["lora with dropout", "full"])
def test_a_killed_tuning_goes_on_bit_for_bit(chat: Any, windows: Windows, tmp_path: Path, strategy: Strategy, last: int) -> None:
    tuning = dataclasses.replace(CPU, checkpoint_seconds=0.0, schedule=Schedule.cosine)
    checkpoint = tmp_path / "state.pt"
    whole, first = trained(chat, windows, strategy, tuning)

    def die(step: int, loss: float) -> None:
        if step == last:
            raise Died

    with pytest.raises(Died):
        trained(chat, windows, strategy, tuning, checkpoint=checkpoint, on_step=die)
    steps: list[int] = []
    resumed, second = trained(chat, windows, strategy, tuning, checkpoint=checkpoint, on_step=lambda step, loss: steps.append(step))
    assert steps == list(range(last, len(windows) + 1))
    assert distance(whole, resumed) == 0
    assert second == first
    again, third = trained(chat, windows, strategy, tuning, checkpoint=checkpoint, on_step=die)
    assert distance(whole, again) == 0
    assert third == first


def test_a_killed_tuning_with_8_bit_states_goes_on_bit_for_bit(chat: Any, windows: Windows, tmp_path: Path) -> None:
    tuning = dataclasses.replace(CPU, checkpoint_seconds=0.0, optimiser=Optimiser.adamw8bit)
    whole, first = trained(chat, windows, Full(lr=0.01), tuning)

    def die(step: int, loss: float) -> None:
        if step == 4:
            raise Died

    with pytest.raises(Died):
        trained(chat, windows, Full(lr=0.01), tuning, checkpoint=tmp_path / "state.pt", on_step=die)
    resumed, second = trained(chat, windows, Full(lr=0.01), tuning, checkpoint=tmp_path / "state.pt")
    assert distance(whole, resumed) == 0 and second == first


def test_8_bit_states_are_near_32_bit_ones(chat: Any, windows: Windows) -> None:
    """Small tensors keep float32 states and move as under AdamW; large ones differ by the rounding of their states."""
    lr = 1e-3
    plain, first = trained(chat, windows, Full(lr=lr), dataclasses.replace(CPU, eps=1e-6, weight_decay=0.1))
    rounded, second = trained(chat, windows, Full(lr=lr), dataclasses.replace(CPU, eps=1e-6, weight_decay=0.1, optimiser=Optimiser.adamw8bit))
    assert second.losses == pytest.approx(first.losses, abs=0.02) and first.losses[-1] < first.losses[0]
    assert second.losses[:2] == pytest.approx(first.losses[:2], abs=1e-4)
    assert 1e-5 < distance(plain, rounded) < len(windows) * 2 * lr


def test_8_bit_states_take_a_byte_each(chat: Any) -> None:
    made = _optimiser(dataclasses.replace(CPU, optimiser=Optimiser.adamw8bit), [torch.nn.Parameter(torch.ones(size)) for size in (4096, 4095)], 0.1)
    large, small = made.param_groups[0]["params"]
    large.grad, small.grad = torch.ones(4096), torch.ones(4095)
    made.step()
    assert (made.state[large]["state1"].dtype, made.state[small]["state1"].dtype) == (torch.uint8, torch.float32)
    assert float(small[0]) == pytest.approx(0.9) and float(large[0]) == pytest.approx(0.9, abs=1e-3)


def test_a_short_tuning_saves_nothing(chat: Any, windows: Windows, tmp_path: Path) -> None:
    trained(chat, windows[:2], Lora(lr=0.01), checkpoint=tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


def test_dropout_is_drawn_from_the_seed(chat: Any, windows: Windows) -> None:
    strategy = Lora(lr=0.01, dropout=0.5)
    first, _ = trained(chat, windows[:3], strategy)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again, _ = trained(chat, windows[:3], strategy)
    assert torch.equal(torch.get_rng_state(), state)
    assert distance(first, again) == 0
    none, _ = trained(chat, windows[:3], Lora(lr=0.01))
    assert distance(first, none) > 1e-4
    other, _ = trained(chat, windows[:3], strategy, seed=1)
    assert distance(first, other) > 1e-4


def test_a_stop_stays_what_it_was(chat: Any, windows: Windows) -> None:
    """Lightning would make exit code 0, done, of a SIGTERM, and 1, a mistake, of Ctrl-C."""

    def terminated(step: int, loss: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def interrupted(step: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        trained(chat, windows[:3], Full(lr=0.05), on_step=terminated)
    assert stopped.value.code == 128 + signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        trained(chat, windows[:3], Full(lr=0.05), on_step=interrupted)


def test_golden(chat: Any, windows: Windows) -> None:
    """Other weights for the same inputs would make stored ones wrong: whoever changes these numbers raises engines.TUNE.

    Norms rather than a digest, since the last bits differ between processors.
    """
    tuning = dataclasses.replace(CPU, schedule=Schedule.cosine, warmup_steps=1, clip=1.0, weight_decay=0.1)
    adamw, first = trained(chat, windows[:3], Full(lr=0.05), tuning)
    sgd, second = trained(chat, windows[:3], Lora(lr=2.0), dataclasses.replace(CPU, optimiser=Optimiser.sgd))
    shared, third = trained(chat, windows[:3], Lora(lr=2.0), dataclasses.replace(CPU, optimiser=Optimiser.sgd), share=True)
    found = [*first.losses, *second.losses, norm(moved(chat, adamw)), norm(sgd)]
    assert (engines.TUNE, found) == (2, pytest.approx([5.6011, 5.5386, 5.1337, 5.6011, 5.5294, 5.3955, 13.9393, 3.6668], rel=1e-4))
    assert [*third.losses, norm(shared)] == pytest.approx([5.6011, 5.5294, 5.3955, 3.6668], rel=1e-4), "a shared beginning changes nothing"


def test_a_torn_state_starts_the_tuning_again(tmp_path: Path) -> None:
    torn = tmp_path / "state.pt"
    assert _whole_state(torn) is None
    torch.save({"step": 3}, torn)
    assert _whole_state(torn) == {"step": 3}
    torn.write_bytes(torn.read_bytes()[:-200])
    assert _whole_state(torn) is None
