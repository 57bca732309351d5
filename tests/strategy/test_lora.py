"""LoRA: adapters where they were asked for, drawn from the seed, and refused where they don't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.strategy.lora import Lora


def module(**fields: Any) -> Any:
    return Tiny(**fields).load(Path()).module


def test_adapters_sit_on_the_named_layers() -> None:
    model = Lora(lr=1e-3, r=4, target_modules=["q_proj", "down_proj"]).attach(module(), 0)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trainable} == {"q_proj", "down_proj"}
    assert len(trainable) == 2 * 2 * 2
    assert all(4 in p.shape for p in trainable.values())
    assert all(not p.any() for name, p in trainable.items() if "lora_B" in name)


def test_scale_is_alpha_over_rank() -> None:
    model = Lora(lr=1e-3, r=4, alpha=12).attach(module(), 0)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(1.0)
        x = torch.ones(1, 32)
        expected = layer.base_layer(x) + 12 / 4 * layer.lora_B["default"](layer.lora_A["default"](x))
        torch.testing.assert_close(layer(x), expected)


def test_adapters_are_drawn_from_the_seed_alone() -> None:
    def drawn(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for name, p in Lora(lr=1e-3).attach(module(), seed).named_parameters() if "lora_A" in name])

    first = drawn(0)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(drawn(0), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(drawn(1), first)


def test_an_unknown_layer_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.target_modules: this model has no linear layer named c_attn, wq; it has down_proj, gate_proj, k_proj"):
        Lora(lr=1e-3, target_modules=["q_proj", "wq", "c_attn"]).attach(module(), 0)


def test_an_adapter_of_another_model_is_a_sentence(tmp_path: Path) -> None:
    strategy = Lora(lr=1e-3)
    model = strategy.attach(module(layers=3), 0)
    save_file(strategy.export(model), tmp_path / "weights.safetensors")
    strategy.describe(model, tmp_path)
    with pytest.raises(ConfigError, match="the trained part is for another model"):
        strategy.restore(module(layers=2), tmp_path)


def test_what_is_written_names_no_place_and_no_order(tmp_path: Path) -> None:
    """The same adapter must be the same bytes on every machine, or its digest says nothing."""
    written = []
    for place, targets in (("somewhere/tiny", ["q_proj", "v_proj", "o_proj"]), ("elsewhere/tiny", ["o_proj", "v_proj", "q_proj"])):
        strategy = Lora(lr=1e-3, target_modules=targets)
        start = module()
        start.config._name_or_path = start.name_or_path = place
        strategy.describe(strategy.attach(start, 0), tmp_path)
        written.append((tmp_path / "adapter_config.json").read_bytes())
    assert written[0] == written[1]
    assert b"tiny" not in written[0]
