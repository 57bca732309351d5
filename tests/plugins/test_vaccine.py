"""Vaccine: the disturbance is rho long and the worst one to first order, the step is the explicit algorithm's, and nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.strategy.lora import Lora
from tests.mitigation.bench import Bench
from tests.mitigation.test_contract import each_strategy, same
from tests.plugins.aligning import gradients, hooks, kept, made, plain, step, window_of
from tests.plugins.distribution import moved, start

FAMILIES = ["gemma2", "gpt2", "gpt_neox", "llama", "mistral", "olmo2", "opt", "phi", "qwen2", "qwen3"]


def outputs_of(model: Any, window: Any, added: Any = None) -> tuple[float, list[torch.Tensor]]:
    """The loss, and the attention blocks' outputs in the order of computing, with something added to each."""
    seen: list[torch.Tensor] = []

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        hidden = output[0] if added is None else output[0] + added[len(seen)]
        if hidden.requires_grad:
            hidden.retain_grad()
        seen.append(hidden)
        return (hidden, *output[1:])

    handles = [module.register_forward_hook(hook) for module in model.modules() if hasattr(module, "o_proj")]
    model.zero_grad(set_to_none=True)
    loss = plain(model, window)
    for handle in handles:
        handle.remove()
    return loss, seen


@each_strategy
@pytest.mark.parametrize("size", [1, 2, 4])
def test_it_is_the_explicit_algorithm(bench: Bench, strategy: Any, size: int) -> None:
    model, window = moved(start(strategy)).double(), window_of(bench, size)
    _, seen = outputs_of(model, window)
    assert len(seen) == 2 * len(window)
    directions = [hidden.grad for hidden in seen]
    norm = torch.cat([direction.flatten() for direction in directions]).norm()  # type: ignore[union-attr]
    added = [3.0 * direction / (norm + 1e-7) for direction in directions]  # type: ignore[operator]
    assert float(torch.cat([e.flatten() for e in added]).norm()) == pytest.approx(3.0, rel=1e-5)
    expected, _ = outputs_of(model, window, added)
    wanted = gradients(model)
    loss, found = step(made("vaccine", rho=3.0), model, window, Context(0))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert found.keys() == wanted.keys() and all(torch.allclose(found[name], wanted[name], rtol=1e-4, atol=1e-9) for name in wanted)


def test_the_disturbance_is_rho_long_in_one_norm_over_all() -> None:
    from ftsafety_plugin_alignment.vaccine import disturbance

    one, two = torch.full((2, 3), 3.0), torch.full((1, 3), -4.0)
    found = disturbance([one, None, two], 10.0)
    assert found[1] is None and found[0] is not None and found[2] is not None
    scale = 10 / (54 + 48) ** 0.5
    assert torch.allclose(found[0], one * scale) and torch.allclose(found[2], two * scale)
    assert float((found[0].square().sum() + found[2].square().sum()).sqrt()) == pytest.approx(10)


def test_to_first_order_the_loss_rises_by_rho_times_the_norm(bench: Bench) -> None:
    model, window = start(Lora(lr=0.02)).double(), window_of(bench, 2)
    loss, seen = outputs_of(model, window)
    norm = float(torch.cat([hidden.grad.flatten() for hidden in seen]).norm())  # type: ignore[union-attr]
    for rho in (1e-4, 1e-5):
        rise = step(made("vaccine", rho=rho), model, window, Context(0))[0] - loss
        assert rise == pytest.approx(rho * norm, rel=0.02) and rise > 0
    for hidden, micro in zip(seen, [micro for micro in window for _ in range(2)], strict=True):
        assert not hidden.grad[micro["attention_mask"] == 0].any(), "padding is not disturbed"  # type: ignore[index]


@each_strategy
def test_nothing_is_left_behind(bench: Bench, strategy: Any) -> None:
    model, window = start(strategy), window_of(bench, 2)
    before, hooked = kept(model), hooks(model)
    step(made("vaccine"), model, window, Context(0))
    assert same(before, kept(model)) and hooks(model) == hooked

    def broken(model: Any, window: Any) -> float:
        raise RuntimeError("a broken step")

    with pytest.raises(RuntimeError):
        step(made("vaccine"), model, window, Context(0), broken)
    assert hooks(model) == hooked


def test_both_passes_and_the_next_step_draw_the_masks_of_plain_tuning(bench: Bench) -> None:
    model, window = moved(start(Lora(lr=0.02, dropout=0.5))).double().train(), window_of(bench, 2)
    torch.manual_seed(5)
    model.zero_grad(set_to_none=True)
    plain(model, window)
    expected, left = gradients(model), torch.get_rng_state()
    torch.manual_seed(5)
    _, found = step(made("vaccine", rho=1e-9), model, window, Context(0))
    assert torch.equal(left, torch.get_rng_state())
    assert all(torch.allclose(found[name], expected[name], rtol=1e-5, atol=1e-9) for name in expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_of_a_family_has_one_of_each(family: str) -> None:
    from ftsafety_plugin_alignment.blocks import ATTENTION, MLP, blocks, last_norm

    config = AutoConfig.for_model(family, num_hidden_layers=3, hidden_size=16, num_attention_heads=2, num_key_value_heads=2, vocab_size=32)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if family == "opt":
        assert len(blocks(model, ATTENTION)) == 3
        with pytest.raises(ConfigError, match=r"finds no mlp in each of 3 layers in this model \(opt\)"):
            blocks(model, MLP)
        return
    for names in (ATTENTION, MLP):
        found = blocks(model, names)
        assert len({id(module) for module in found}) == len(found) == 3
    assert "norm" in type(last_norm(model)).__name__.lower()
