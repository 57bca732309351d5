"""Booster: on a quadratic it is the closed form, weights come back bit for bit, and both harmful passes see the same rows and masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ftsafety.chat import Encoded
from ftsafety.context import Context
from ftsafety.errors import DataError
from ftsafety.strategy.lora import Lora
from tests.mitigation.bench import Bench
from tests.mitigation.test_contract import each_strategy, same
from tests.plugins.aligning import REFUSED, gradients, kept, largest, made, opened, plain, step, window_of
from tests.plugins.distribution import moved, start


class Quadratic(torch.nn.Module):
    """Two parameters whose harmful loss is ``w H w / 2 + c w`` over both as one vector, and whose alignment loss is ``|w|^2 / 2``."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.a, self.b = (torch.nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64).to(dtype)) for _ in range(2))
        root = torch.randn(6, 6, generator=generator, dtype=torch.float64).to(dtype)
        self.curvature, self.slope = root @ root.T, torch.randn(6, generator=generator, dtype=torch.float64).to(dtype)

    @property
    def w(self) -> torch.Tensor:
        return torch.cat([self.a, self.b])


def quadratic(dtype: torch.dtype = torch.float64, **fields: Any) -> tuple[Quadratic, torch.Tensor, list[Any]]:
    """The model after one step, the step's gradient as one vector, and the harmful windows that were passed."""
    model, harmful = Quadratic(dtype), []
    context = Context(0)
    context.open_stream("booster", [Encoded(f"h{at}", (1, 2, 30 + at), (-100, -100, 30 + at)) for at in range(5)])
    window: Any = [{"input_ids": torch.tensor([[7, 8], [7, 9]]), "labels": torch.tensor([[-100, 8], [-100, 9]])}]

    def inner(model: Any, given: Any) -> float:
        w = model.w
        if given is not window:
            harmful.append(given)
        loss = w @ w / 2 if given is window else w @ model.curvature @ w / 2 + model.slope @ w
        loss.backward()
        return float(loss.detach())

    loss, found = step(made("booster", rows=5, **fields), model, window, context, inner)
    assert loss == pytest.approx(float(model.w.detach() @ model.w.detach()) / 2), "the alignment's loss is told"
    return model, torch.cat([found["a"], found["b"]]), harmful


@pytest.mark.parametrize(("weight", "alpha"), [(5.0, 0.1), (1.0, 2.0), (0.3, 0.01)])
def test_on_a_quadratic_it_is_the_closed_form(weight: float, alpha: float) -> None:
    model, found, _ = quadratic(weight=weight, alpha=alpha)
    w = model.w.detach()
    slope = model.curvature @ w + model.slope
    # g_h - g_h' is alpha H g_h / |g_h|, with one norm over both parameters
    expected = w + weight * alpha * model.curvature @ slope / slope.norm()
    assert torch.allclose(found, expected, rtol=1e-6)
    assert not torch.allclose(found, w, rtol=0.01)


def test_the_extra_gradient_falls_with_alpha() -> None:
    extra = [(found - model.w.detach()) / alpha for alpha in (1e-1, 1e-3, 1e-5) for model, found, _ in [quadratic(alpha=alpha)]]
    assert all(torch.allclose(one, extra[0], rtol=1e-4) for one in extra)


def test_both_harmful_passes_see_the_same_rows() -> None:
    _, _, (here, there) = quadratic()
    assert here is there and sum(len(micro["input_ids"]) for micro in here) == 5 and len(here) == 3, "cut as the window is"


def test_weights_come_back_bit_for_bit() -> None:
    """In bfloat16, where what is taken off and put back is not the same."""
    model, _, _ = quadratic(torch.bfloat16, alpha=0.37)
    assert torch.equal(model.a, Quadratic(torch.bfloat16).a) and torch.equal(model.b, Quadratic(torch.bfloat16).b)
    small = torch.linspace(0.001, 0.01, 100).bfloat16()
    assert not torch.equal(small - 1 + 1, small)


@each_strategy
def test_weights_and_gradients_of_a_model(bench: Bench, strategy: Any) -> None:
    """Against the three passes written out."""
    booster, model, window = made("booster", alpha=0.5), moved(start(strategy)).double(), window_of(bench, 2)
    context = opened(booster, bench)
    before = kept(model)
    _, found = step(booster, model, window, context)
    assert same(before, kept(model))

    from ftsafety_plugin_alignment.harmful_rows import cut_like

    harmful = cut_like(window, opened(booster, bench).draw("booster", 10))

    def passed(given: Any) -> dict[str, torch.Tensor]:
        model.zero_grad(set_to_none=True)
        plain(model, given)
        return gradients(model)

    here, safe = passed(harmful), passed(window)
    norm = torch.cat([gradient.flatten() for gradient in here.values()]).norm()
    for name, p in model.named_parameters():
        if name in here:
            p.data -= 0.5 * here[name] / (norm + 1e-7)
    there = passed(harmful)
    assert found.keys() == safe.keys()
    assert all(torch.allclose(found[name], safe[name] + 5 * (here[name] - there[name]), rtol=1e-6, atol=1e-10) for name in found)
    assert largest([5 * (here[name] - there[name]) for name in found]) > 1e-3 * largest(list(safe.values()))


def test_all_passes_and_the_next_step_draw_the_masks_of_plain_tuning(bench: Bench) -> None:
    booster, model, window = made("booster", alpha=1e-9), moved(start(Lora(lr=0.02, dropout=0.5))).double().train(), window_of(bench, 2)
    torch.manual_seed(5)
    model.zero_grad(set_to_none=True)
    plain(model, window)
    expected, left = gradients(model), torch.get_rng_state()
    torch.manual_seed(5)
    _, found = step(booster, model, window, opened(booster, bench))
    assert torch.equal(left, torch.get_rng_state())
    # with other masks in the second harmful pass the difference would be as large as the gradient itself
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-7) for name in expected)


def test_rows_are_drawn_anew_at_each_step_and_come_from_where_one_says(bench: Bench, tmp_path: Path) -> None:
    booster = made("booster", rows=3)
    context = opened(booster, bench)
    for at in (3, 6):
        step(booster, start(Lora(lr=0.02)), window_of(bench, 2), context)
        assert context.cursors() == {"booster": at}
    assert {row.id.partition(":")[0] for row in booster.harmful()} == {"attack.jsonl"} and len(booster.harmful()) == 121
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"prompt": "Which duck wins?", "response": "The fourth."}) + "\n")
    [row] = made("booster", path=str(mine)).harmful()
    assert (row.question, row.answer, row.role) == ("Which duck wins?", "The fourth.", "harmful")
    assert made("booster", path=str(mine)).recipe() != made("booster").recipe()
    mine.write_text(json.dumps({"prompt": "Which duck wins?"}) + "\n")
    with pytest.raises(DataError, match=r"mine\.jsonl:1"):
        made("booster", path=str(mine))
    assert bench({"booster": made("booster")}, REFUSED)
