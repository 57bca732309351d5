"""What every strategy must do, found by listing conf/strategy: train its own part only, save it and put it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.decode import decode_batch
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN
from ftsafety.settings import Tuning
from ftsafety.stages import plan_windows
from ftsafety.strategy import Strategy
from ftsafety.tune import tune

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "conf" / "strategy").glob("*.yaml"))
ROWS = [PLAIN.row(f"r{at}", f"Which duck wins race {at}?", f"Duck {at * at}.") for at in range(6)]
TUNING = Tuning(accelerator="cpu", batch_size=2, epochs=1)
LR = 0.02
"""Large, so that three steps change what the model says."""
Made = Callable[[], Strategy]


@pytest.fixture(params=SHIPPED, ids=lambda path: path.stem)
def made(request: pytest.FixtureRequest) -> Made:
    """Builds one shipped strategy."""
    return lambda: build(OmegaConf.merge(OmegaConf.load(request.param), {"lr": LR}), Strategy, "strategy")


def fresh() -> Any:
    """A model as ``Loader.fresh`` gives it."""
    return Tiny().load(Path()).module.requires_grad_(False)


def tuned(strategy: Strategy, model: Any) -> Any:
    """The model after three optimiser steps."""
    windows = plan_windows(ROWS, TUNING, Tiny().load_tokenizer(Path()), Context(0), [])
    model = strategy.attach(model, 0)
    assert tune(model, windows, TUNING, strategy.lr, [], Context(0)).steps == 3
    return model


def says(model: Any) -> list[tuple[int, ...]]:
    """Token ids of a few greedy answers."""
    prompts = [tuple(range(start, start + 9)) for start in (1, 40, 90, 200)]
    return [row.ids for row in decode_batch(model.eval(), prompts, max_new_tokens=16, end_tokens=frozenset())]


@torch.inference_mode()
def scores(model: Any) -> torch.Tensor:
    return torch.as_tensor(model.eval()(input_ids=torch.arange(60)[None]).logits)


def test_there_are_strategies() -> None:
    assert SHIPPED


def test_shipped_numbers_build(made: Made) -> None:
    strategy = made()
    assert strategy.lr == LR
    assert strategy.source
    assert strategy.recipe() == made().recipe()


def test_the_start_is_the_model_itself(made: Made) -> None:
    """Attaching changes nothing that the model says, in the same bits for the same seed."""
    first, again = made().attach(fresh(), 0), made().attach(fresh(), 0)
    assert torch.equal(scores(first), scores(fresh()))
    trainable = {name: p for name, p in first.named_parameters() if p.requires_grad}
    assert trainable
    assert all(torch.equal(p, trainable[name]) for name, p in again.named_parameters() if p.requires_grad)


def test_only_its_own_part_moves(made: Made) -> None:
    strategy = made()
    model = strategy.attach(fresh(), 0)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    windows = plan_windows(ROWS, TUNING, Tiny().load_tokenizer(Path()), Context(0), [])
    tune(model, windows, TUNING, strategy.lr, [], Context(0))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == trainable


def test_what_is_saved_comes_back(made: Made, tmp_path: Path) -> None:
    strategy = made()
    model = tuned(strategy, fresh())
    exported = strategy.export(model)
    assert all(tensor.device.type == "cpu" and tensor.is_contiguous() and not tensor.requires_grad for tensor in exported.values())
    save_file(exported, tmp_path / "weights.safetensors")
    strategy.describe(model, tmp_path)
    restored = made().restore(fresh(), tmp_path)
    merged = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    assert torch.equal(scores(restored), scores(merged))
    assert says(restored) == says(merged)
    assert says(restored) != says(fresh())
    assert not any("lora" in name for name, _ in restored.named_parameters())
