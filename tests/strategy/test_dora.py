"""DoRA: LoRA and the length of each weight row, merged exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.strategy.dora import Dora


def module() -> Any:
    return Tiny().load(Path()).module


def test_each_adapter_learns_a_length_too() -> None:
    model = Dora(lr=1e-3, r=4, target_modules=["q_proj"]).attach(module(), 0)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    lengths = {name: p for name, p in trainable.items() if "magnitude" in name}
    assert len(lengths) == 2 and len(trainable) == 6
    rows = module().model.layers[0].self_attn.q_proj.weight.norm(dim=1)
    assert torch.allclose(next(iter(lengths.values())), rows)


def test_the_merged_weight_is_length_times_direction() -> None:
    model = Dora(lr=1e-3, r=4, alpha=8, target_modules=["q_proj"]).attach(module(), 0)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(0.1)
        length = layer.lora_magnitude_vector["default"].weight
        length.mul_(2)
        moved = layer.base_layer.weight + 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        expected = length[:, None] * moved / moved.norm(dim=1, keepdim=True)
    merged = model.merge_and_unload().model.layers[0].self_attn.q_proj.weight
    torch.testing.assert_close(merged, expected.detach())


def test_an_unknown_layer_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.target_modules: this model has no linear layer named wq"):
        Dora(lr=1e-3, target_modules=["wq"]).attach(module(), 0)
