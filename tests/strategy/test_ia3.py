"""(IA)3: one factor per unit, on outputs and on feed-forward inputs, refused where layers are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.strategy.ia3 import Ia3


def module() -> Any:
    return Tiny().load(Path()).module


def test_factors_scale_outputs_and_feed_forward_inputs() -> None:
    model = Ia3(lr=1e-3).attach(module(), 0)
    factors = {name.split("layers.0.")[1].split(".ia3")[0]: p for name, p in model.named_parameters() if p.requires_grad and "layers.0." in name}
    assert {name: p.numel() for name, p in factors.items()} == {"self_attn.k_proj": 16, "self_attn.v_proj": 16, "mlp.down_proj": 64}
    assert all(bool((p == 1).all()) for p in factors.values()), "the start is the model itself"
    with torch.no_grad():
        for p in factors.values():
            p.copy_(torch.linspace(0.5, 2, p.numel()).view_as(p))
    before, after = module().model.layers[0], model.merge_and_unload().model.layers[0]
    key, down = (factors[name].detach().flatten() for name in ("self_attn.k_proj", "mlp.down_proj"))
    torch.testing.assert_close(after.self_attn.k_proj.weight, before.self_attn.k_proj.weight * key[:, None])
    torch.testing.assert_close(after.mlp.down_proj.weight, before.mlp.down_proj.weight * down[None, :])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target_modules": []}, r"strategy\.target_modules is empty"),
        ({"target_modules": ["k_proj"]}, r"strategy\.feedforward_modules names down_proj, which strategy\.target_modules does not"),
    ],
)
def test_layers_that_make_no_sense(fields: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Ia3(lr=1e-3, **fields).check("strategy")


def test_an_unknown_layer_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.target_modules: this model has no linear layer named wi; it has down_proj"):
        Ia3(lr=1e-3, target_modules=["k_proj", "wi"], feedforward_modules=[]).attach(module(), 0)
