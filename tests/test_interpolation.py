"""A default may depend on whether the model is the embedded one, and says so in its YAML."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from ftsafety import interpolation
from tests.test_cell import cell


@pytest.mark.parametrize(
    ("model", "lr"),
    [("stand_in_aligned", 5e-3), ("smollm2_135m", 5e-3), ("tiny", 1e-3), ("hf model.name=somewhere/some", 1e-3)],
)
@pytest.mark.parametrize("strategy", ["lora", "dora"])
def test_the_rate_follows_the_model(model: str, lr: float, strategy: str) -> None:
    assert cell(*f"model={model}".split(), f"strategy={strategy}", "+attack=benign").strategy.lr == lr


def test_a_typed_rate_wins() -> None:
    assert cell("+attack=benign", "strategy.lr=2e-4").strategy.lr == 2e-4


def test_without_a_model_it_is_the_others() -> None:
    interpolation.register()
    assert OmegaConf.create({"lr": "${embedded:1.0,2.0}"}).lr == 2.0


def test_every_name_is_a_model() -> None:
    import importlib

    for name in interpolation.EMBEDDED:
        module, _, cls = name.rpartition(".")
        assert hasattr(importlib.import_module(module), cls)
