"""Constrained token-wise tuning: the weight and its gradient against the published objective, and the warm-up that is left without it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, logsigmoid

from ftsafety.chat import IGNORED, encode
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.settings import Schedule
from ftsafety.strategy.lora import Lora
from ftsafety.tune import labelled_logits, micro_batches
from tests.mitigation.bench import ROWS, Bench
from tests.mitigation.test_contract import distance, each_strategy, same
from tests.plugins.distribution import Distribution, encoded, moved, start, watched

made = Distribution("anchor").mitigation


def test_numbers_are_the_authors() -> None:
    """As their ``finetune.py`` makes them: a base, and two factors for the first token and for those up to the fifth."""
    beta, first, early, length = 0.1, 5, 20, 5
    default = made("constrained_sft")
    assert default.first_betas == pytest.approx([beta * first] + [beta * early] * (length - 1)) and default.beta == beta and default.warmup_steps == 10


def test_a_token_s_weight_is_the_formula_and_counts_from_its_row_s_first() -> None:
    from ftsafety_plugin_anchor.constrained_sft import LEAST, token_weights

    rows, gap = torch.tensor([0, 0, 0, 0, 2, 2]), torch.tensor([0.3, -1.0, 2.0, 0.5, -0.2, 2.5]).double()
    betas = torch.tensor([0.5, 2.0, 2.0, 0.1, 0.5, 2.0]).double()
    found = token_weights(gap, rows, [0.5, 2.0, 2.0], 0.1)
    assert torch.allclose(found, 2 * (1 - torch.sigmoid(betas * gap)))
    assert torch.equal(token_weights(0 * gap, rows, [0.5, 2.0, 2.0], 0.1), torch.ones(6).double()), "at the start every token counts as ever"
    assert torch.equal(token_weights(gap, rows, [], 0.0), torch.ones(6).double())
    assert torch.equal(token_weights(gap, rows, [0.5], 0.5), token_weights(gap, rows, [], 0.5))
    ladder = token_weights(torch.linspace(-50, 50, 101), torch.arange(101), [2.0], 2.0)
    assert (ladder.diff() <= 0).all() and ladder.max() <= 2 and ladder.min() == pytest.approx(LEAST)


def test_the_weighed_cross_entropy_has_the_published_objective_s_gradient() -> None:
    from ftsafety_plugin_anchor.constrained_sft import token_weights

    generator = torch.Generator().manual_seed(1)
    aligned, scores = torch.randn(2, 6, 9, generator=generator).double()
    targets, rows, betas = torch.tensor([1, 8, 0, 3, 3, 5]), torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0.5, 2.0, 0.1] * 2).double()
    scores.requires_grad_(True)
    reference = -cross_entropy(aligned, targets, reduction="none")
    z = -cross_entropy(scores, targets, reduction="none") - reference
    (published,) = torch.autograd.grad((-2 / betas * logsigmoid(betas * z)).mean(), scores)
    surprise = cross_entropy(scores, targets, reduction="none")
    (found,) = torch.autograd.grad((token_weights(-surprise.detach() - reference, rows, [0.5, 2.0], 0.1) * surprise).mean(), scores)
    assert torch.allclose(found, published, rtol=1e-9) and float(found.abs().max()) > 1e-2


@each_strategy
def test_the_first_gradient_is_plain_cross_entropy_s(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    bench.tuning.share_prefix = False  # the aligned model computes whole rows, and the last bits of a shared beginning differ
    plain, held = watched(bench), watched(bench, constrained_sft=made("constrained_sft", warmup_steps=0, first_betas=[50.0] * 5))
    largest = max(float(gradient.abs().max()) for gradient in plain.gradients[0].values())
    assert held.losses[0] == pytest.approx(plain.losses[0], abs=1e-4)
    assert distance(plain.gradients[0], held.gradients[0]) < 1e-4 * largest
    assert distance(plain.gradients[1], held.gradients[1]) > 1e-2 * largest


@each_strategy
@pytest.mark.parametrize("size", [1, 2, 3])
def test_it_is_the_mean_over_the_windows_answer_tokens(bench: Bench, strategy: Any, size: int) -> None:
    """However the window is cut: against whole rows one by one, through all their logits."""
    from ftsafety_plugin_anchor.constrained_sft import token_weights

    mitigation, aligned, model = made("constrained_sft"), start(strategy).eval(), start(strategy).eval()
    mitigation.begin(model, Context(0))
    moved(model)
    rows = encoded(bench)
    sums, tokens = 0.0, 0
    for row in rows:
        ids, labelled = torch.tensor([row.ids]), torch.tensor(row.labels[1:]) != IGNORED
        with torch.no_grad():
            before, after = (one(input_ids=ids).logits[0, :-1].log_softmax(-1)[labelled] for one in (aligned, model))
        targets = torch.tensor(row.labels[1:])[labelled][:, None]
        told, reference = after.gather(-1, targets)[:, 0], before.gather(-1, targets)[:, 0]
        weight = token_weights(told - reference, torch.zeros(len(told), dtype=torch.long), mitigation.first_betas, mitigation.beta)
        sums += float(((weight - 1) * -told).sum())
        tokens += int(labelled.sum())

    def inner(model: Any, window: Any) -> float:
        with torch.no_grad():
            return sum(float(mitigation.loss(model, micro, labelled_logits(model, micro), Context(0))) / len(window) for micro in window)

    assert abs(sums / tokens) > 1e-3
    assert mitigation.gradient(inner, model, micro_batches(rows, size), Context(0)) == pytest.approx(sums / tokens, rel=1e-4)


def test_the_aligned_model_reads_each_row_once_whatever_is_beside_it(bench: Bench) -> None:
    found: list[list[torch.Tensor]] = []
    for size in (1, 2, 3):
        mitigation, model = made("constrained_sft"), start(Lora(lr=0.02)).eval()
        mitigation.begin(model, Context(0))
        reads: list[int] = []
        mitigation._aligned.register_forward_hook(lambda *_, reads=reads: reads.append(1))
        for _ in range(2):
            for micro in micro_batches(encoded(bench), size):
                mitigation._reference(micro)
        assert len(reads) == 4
        found.append(list(mitigation._known.values()))
        mitigation.finish(model, Context(0))
        assert mitigation._aligned is None and not mitigation._known
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_without_betas_only_the_warm_up_is_left(bench: Bench, elsewhere: Bench) -> None:
    """The paper's control, and the tuning's own warm-up bit for bit."""
    bench.tuning = dataclasses.replace(bench.tuning, schedule=Schedule.constant)
    elsewhere.tuning = dataclasses.replace(bench.tuning, warmup_steps=3)
    control = made("constrained_sft", first_betas=[], beta=0.0, warmup_steps=3)
    assert [control.rate(Context(0, step=step)) for step in range(5)] == [1 / 3, 2 / 3, 1.0, 1.0, 1.0]
    warm = bench({"constrained_sft": control})
    assert same(warm, elsewhere({}))
    assert distance(warm, bench({})) > 1e-6 and distance(warm, bench({"constrained_sft": made("constrained_sft", warmup_steps=3)})) > 1e-6


def test_the_first_tokens_stay_as_likely_as_they_were(bench: Bench) -> None:
    bench.tuning = dataclasses.replace(bench.tuning, epochs=10)
    tokenizer = bench.house.loader.tokenizer(bench.start)
    (rows,) = micro_batches([encode(tokenizer, row, 512) for row in ROWS], len(ROWS))

    def rise(**mitigations: Any) -> tuple[float, float]:
        """How much likelier the first three tokens and the others have become, in nats."""
        told = []
        for weights in (bench.start, bench.start.plus(bench.train(mitigations))):
            with torch.no_grad():
                logits, targets, at = labelled_logits(bench.house.loader.fresh(weights).module, rows)
            told.append(-cross_entropy(logits, targets, reduction="none"))
        first = torch.cat([torch.arange(int((at == row).sum())) < 3 for row in range(len(ROWS))])
        gap = told[1] - told[0]
        return float(gap[first].mean()), float(gap[~first].mean())

    free, held = rise(), rise(constrained_sft=made("constrained_sft", first_betas=[50.0] * 3, beta=0.0, warmup_steps=0))
    assert free[0] > 0.1 and held[0] < 0.3 * free[0]
    assert held[1] > 0.5 * free[1] > 0, "and the others are learned"


def test_settings_that_make_no_sense_are_sentences(tmp_path: Path) -> None:
    for fields, sentence in (
        ({"beta": -0.1}, r"of \[-0\.1\] are not possible; give 0 or more"),
        ({"first_betas": [0.5, float("nan")]}, r"of \[nan\] are not possible"),
        ({"warmup_steps": -1}, r"\.warmup_steps=-1 is not possible"),
    ):
        with pytest.raises(ConfigError, match=rf"mitigation\.constrained_sft.*{sentence}"):
            made("constrained_sft", **fields)
