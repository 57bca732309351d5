"""SPPFT: frozen layers keep every bit under each strategy, the rest moves, and the control freezes as many elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.strategy.dora import Dora
from ftsafety.strategy.full import Full
from ftsafety.strategy.ia3 import Ia3
from ftsafety.strategy.lora import Lora
from ftsafety.strategy.prefix import Prefix
from tests.mitigation.bench import Bench
from tests.plugins.distribution import Distribution, start

made = Distribution("anchor").mitigation
HELD = (".layers.0.self_attn.", ".layers.0.mlp.")


def ends(bench: Bench, **fields: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The whole model's weights before and after a tuning."""
    tuned = bench.start.plus(bench.train({"sppft": made("sppft", **fields)}))
    return tuple(dict(bench.house.loader.fresh(at).module.state_dict()) for at in (bench.start, tuned))  # type: ignore[return-value]


def test_full_tuning_moves_all_but_attention_and_mlp_of_the_range(bench: Bench) -> None:
    bench.strategy = Full(lr=0.002)
    before, after = ends(bench, layers=[0, 0])
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if any(part in name for part in HELD)} and len(still) == 7
    assert ".layers.0.input_layernorm." in next(name for name in before if "layers.0.input_layernorm" in name)


@pytest.mark.parametrize("strategy", [Lora(lr=0.02), Dora(lr=0.02)], ids=["lora", "dora"])
def test_an_adapter_has_no_update_in_the_range(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    before, after = ends(bench, layers=[0, 0])
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    if isinstance(strategy, Lora) and type(strategy) is Lora:
        assert differ == {f"model.layers.1.self_attn.{part}_proj.weight" for part in ("q", "v")}
    # DoRA's merging scales each row by a ratio of norms, which is 1 up to rounding
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before if any(part in name for part in HELD))
    assert max(float((after[name] - before[name]).abs().max()) for name in differ) > 1e-3


@pytest.mark.parametrize("strategy", [Lora(lr=0.02), Dora(lr=0.02), Ia3(lr=0.02), Full(lr=0.002)], ids=["lora", "dora", "ia3", "full"])
def test_what_is_trained_in_the_range_keeps_every_bit(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    began = strategy.export(start_of(bench))
    tuned = bench({"sppft": made("sppft", layers=[0, 0])})
    held = {name for name in began if any(part in f".{name}" for part in HELD)}
    assert held and all(torch.equal(began[name], tuned[name]) for name in held)
    assert any(not torch.equal(began[name], tuned[name]) for name in began.keys() - held)


def start_of(bench: Bench) -> Any:
    """The model as the bench's tuning starts, with the adapter that it draws."""
    return bench.strategy.attach(bench.house.loader.fresh(bench.start).module, Context(bench.seed).number("strategy/start"))


def test_fewer_weights_are_trained_by_as_many_as_are_frozen(bench: Bench) -> None:
    bench.strategy = Full(lr=0.002)
    module = Tiny().load(bench.folder).module
    frozen = sum(p.numel() for name, p in module.named_parameters() if any(part in name for part in HELD))
    bench.train({})
    bench.train({"sppft": made("sppft", layers=[0, 0])})
    plain, held = (stage["trainable"] for stage in bench.house.stages)
    assert plain - held == frozen > 0


def test_the_control_freezes_as_many_layers_elsewhere() -> None:
    control = made("sppft", layers=[2, 4], place="random")
    drawn = [control._range(8, Context(seed)) for seed in range(40)]
    assert drawn == [control._range(8, Context(seed)) for seed in range(40)]
    assert {first for first, _ in drawn} == {0, 1, 3, 4, 5} and all(last - first == 2 for first, last in drawn)
    assert made("sppft", layers=[2, 4])._range(8, Context(0)) == (2, 4)


def test_layers_are_found_in_another_architecture() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=8, n_head=2, vocab_size=16, n_positions=16)).requires_grad_(True)
    made("sppft", layers=[1, 1]).attach(model, Context(0))
    frozen = {name.removeprefix("transformer.h.1.").split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"attn", "mlp"} and model.transformer.h[1].ln_1.weight.requires_grad and model.transformer.h[0].attn.c_attn.weight.requires_grad


def test_ranges_that_make_no_sense_are_sentences(bench: Bench) -> None:
    for layers in ([3], [2, 1], [-1, 0], [0, 1, 2]):
        with pytest.raises(ConfigError, match=r"mitigation\.sppft\.layers=.* is not possible; give the first and the last layer"):
            made("sppft", layers=layers)
    with pytest.raises(ConfigError, match=r"layers=\[6, 12\] is not possible; this model has layers 0 to 1"):
        bench({"sppft": made("sppft")})
    with pytest.raises(ConfigError, match="leaves nothing to train of 2 layers"):
        bench({"sppft": made("sppft", layers=[0, 1])})
    with pytest.raises(ConfigError, match="finds no other place for 2 of 2 layers"):
        bench({"sppft": made("sppft", layers=[0, 1], place="random")})
    with pytest.raises(ConfigError, match="in which this strategy trains nothing"):
        made("sppft", layers=[0, 0]).attach(start(Prefix(lr=0.02)), Context(0))
    model = Tiny().load(bench.folder).module
    model.config.num_hidden_layers = 5
    with pytest.raises(ConfigError, match="finds no 5 layers in a row"):
        made("sppft", layers=[0, 0]).attach(model, Context(0))
