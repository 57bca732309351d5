"""RepNoise: the distance from noise has known answers, the terms are the published ones written out, and they count once a step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from ftsafety.chat import Encoded
from ftsafety.context import Context
from ftsafety.errors import DataError
from tests.mitigation.bench import Bench
from tests.mitigation.test_contract import each_strategy, same
from tests.plugins.aligning import gradients, hooks, kept, made, opened, plain, step, window_of
from tests.plugins.distribution import moved, start


def test_the_distance_of_two_points_is_known() -> None:
    """Of one row each all distances but 0 are the mean of the others, so that the kernels are exp(-4), exp(-2), ..., exp(-1/4) wherever the points are."""
    from ftsafety_plugin_alignment.rep_noise import mmd

    expected = 10 - 2 * sum(math.exp(-4 / 2**power) for power in range(5))
    for x, y in (([[0.0, 0.0]], [[3.0, 4.0]]), ([[1.0, 7.0]], [[1.0, 7.5]])):
        assert float(mmd(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected, rel=1e-5)


def test_the_distance_is_the_formula_and_a_distance() -> None:
    from ftsafety_plugin_alignment.rep_noise import mmd

    x, y = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = [*x, *y]
    squares = [[float(((a - b) ** 2).sum()) for b in z] for a in z]
    mean = sum(map(sum, squares)) / (36 - 6)

    def kernel(at: int, other: int) -> float:
        return sum(math.exp(-squares[at][other] / (mean * part)) for part in (0.25, 0.5, 1, 2, 4))

    expected = sum(kernel(i, j) + kernel(3 + i, 3 + j) - kernel(i, 3 + j) - kernel(3 + i, j) for i in range(3) for j in range(3)) / 9
    assert float(mmd(x, y)) == pytest.approx(expected)
    assert float(mmd(x, y)) == pytest.approx(float(mmd(y, x))) and float(mmd(x, x)) == pytest.approx(0, abs=1e-12)
    far = [float(mmd(x, y + shift)) for shift in (0.0, 1.0, 3.0)]
    assert far[0] < far[1] < far[2]
    x.requires_grad_(True)
    mmd(x, y).backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()


def test_two_fresh_samples_of_noise_are_not_at_zero() -> None:
    from ftsafety_plugin_alignment.rep_noise import mmd

    x, y = torch.randn(2, 8, 4096, generator=torch.Generator().manual_seed(1))
    assert float(mmd(x, y)) == pytest.approx(0.78, abs=0.02)


def test_tokens_differ_where_the_rows_do_and_not_beyond_the_end() -> None:
    from ftsafety_plugin_alignment.rep_noise import apart

    rows = [Encoded("a", (1, 2, 5, 6, 9), ()), Encoded("b", (1, 3, 4), ())]
    others = [Encoded("a", (1, 2, 5, 7), ()), Encoded("b", (1, 3, 8, 8, 8, 8), ())]
    assert apart(rows, others).tolist() == [[False, False, False, True, True], [False, False, True, False, False]]


@each_strategy
def test_the_terms_are_the_published_ones(bench: Bench, strategy: Any) -> None:
    from ftsafety_plugin_alignment.rep_noise import HARMFUL, REFUSED, mmd

    alpha, beta = 0.7, 3.0
    noise, model, window = made("rep_noise", alpha=alpha, beta=beta), moved(start(strategy)), window_of(bench, 4)
    context = opened(noise, bench)
    before = kept(model)
    loss, found = step(noise, model, window, context)
    hooked = hooks(model)  # transformers leaves some of its own once hidden states were asked for
    step(noise, model, window, opened(noise, bench))
    assert same(before, kept(model)) and hooks(model) == hooked
    again = opened(noise, bench)
    drawn, refused = again.draw(HARMFUL, 4), {row.id: row for row in again.streams()[REFUSED]}
    width = max(len(row.ids) for row in drawn)
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in drawn])
    mask = torch.zeros(ids.shape)
    for at, row in enumerate(drawn):
        other = refused[row.id].ids
        for place, token in enumerate(row.ids):
            mask[at, place] = float(place >= len(other) or other[place] != token)
    seen: list[torch.Tensor] = []
    core = model.get_base_model().model if hasattr(model, "get_base_model") else model.model
    assert not any(layer.mlp._forward_hooks for layer in core.layers)
    handles = [layer.mlp.register_forward_hook(lambda module, inputs, output: seen.append(output)) for layer in core.layers]
    out = model(input_ids=ids, attention_mask=(torch.arange(width) < torch.tensor([[len(row.ids)] for row in drawn])).long(), output_hidden_states=True)
    for handle in handles:
        handle.remove()

    def harm(logits: torch.Tensor) -> torch.Tensor:
        each = cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
        return (each * mask[:, 1:]).sum() / mask[:, 1:].sum()

    hidden = out.hidden_states
    assert len(hidden) == 3 and len(seen) == 2
    likelihood = (harm(out.logits) + sum(harm(model.get_output_embeddings()(core.norm(one))) for one in hidden)) / 3 + 1
    generator = torch.Generator().manual_seed(again.number("rep_noise/noise/0"))
    distances = [mmd((one * mask[..., None]).flatten(1), (torch.randn(one.shape, generator=generator) * mask[..., None]).flatten(1)) for one in seen]
    model.zero_grad(set_to_none=True)
    (beta * sum(distances) / 2 - alpha * likelihood.log()).backward()
    extra = float(beta * sum(distances).detach() / 2 - alpha * likelihood.detach().log())  # type: ignore[union-attr]
    safe = plain(model, window)
    expected = gradients(model)
    assert loss == pytest.approx(safe + extra, rel=1e-4)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-5) for name in expected)


@pytest.mark.parametrize("size", [1, 2])
def test_it_counts_once_whatever_the_number_of_micro_batches(bench: Bench, size: int) -> None:
    noise, model = made("rep_noise", beta=1.0), moved(start(bench.strategy))
    whole, cut = (step(noise, model, window_of(bench, at), opened(noise, bench)) for at in (4, size))
    assert cut[0] == pytest.approx(whole[0], rel=1e-5)
    assert all(torch.allclose(cut[1][name], whole[1][name], rtol=1e-3, atol=1e-6) for name in whole[1])


def test_noise_is_another_at_each_step_and_the_same_again(bench: Bench) -> None:
    noise, model, window = made("rep_noise", beta=1.0, alpha=0.0), start(bench.strategy), window_of(bench, 4)

    def at(number: int) -> float:
        context = opened(noise, bench)
        context.step = number
        return step(noise, model, window, context)[0]

    assert at(0) == at(0) != at(1)


def test_a_refusal_goes_with_each_row(bench: Bench, tmp_path: Path) -> None:
    streams = made("rep_noise").streams(Context(0))
    harmful, refused = streams.values()
    assert [row.id for row in harmful] == [row.id for row in refused] and len(harmful) == 121
    assert all(one.question == other.question and one.answer != other.answer for one, other in zip(harmful, refused, strict=True))
    assert streams == made("rep_noise").streams(Context(0)) != made("rep_noise").streams(Context(1))
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"question": "Which duck wins?", "answer": "The fourth.", "refusal": "I can't tell."}) + "\n")
    harmful, refused = made("rep_noise", path=str(mine)).streams(Context(0)).values()
    assert (harmful[0].answer, refused[0].answer) == ("The fourth.", "I can't tell.")
    mine.write_text(json.dumps({"question": "Which duck wins?", "answer": "No.", "refusal": "No."}) + "\n")
    with pytest.raises(DataError, match=r"mine\.jsonl:1: the answer that goes along is the refusal"):
        made("rep_noise", path=str(mine))
