"""Our tuning against transformers' own Trainer: the same settings and the same order of rows give the same loss curve and weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

from ftsafety.chat import Encoded
from ftsafety.context import Context
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN
from ftsafety.settings import Schedule, Tuning
from ftsafety.stages import plan_windows
from ftsafety.strategy import Strategy
from ftsafety.strategy.full import Full
from ftsafety.strategy.lora import Lora
from ftsafety.tune import tune

STEPS, MICRO, ACCUMULATED, SEED = 20, 2, 2, 7
ROWS = [PLAIN.row(f"r{at}", f"Which duck wins race {at}?" * (1 + at % 2), "Duck " * (1 + 3 * at % 7) + f"{at * at}.") for at in range(8)]
TUNING = Tuning(batch_size=MICRO * ACCUMULATED, micro_batch=MICRO, epochs=10, schedule=Schedule.constant)
"""Ten passes of two windows over eight rows, shuffled anew for each."""
SETTINGS: dict[str, tuple[Tuning, dict[str, Any]]] = {
    "constant": (TUNING, {"lr_scheduler_type": "constant", "max_grad_norm": 0.0}),
    "cosine, clipped": (dataclasses.replace(TUNING, schedule=Schedule.cosine, clip=0.5), {"lr_scheduler_type": "cosine", "max_grad_norm": 0.5}),
    "linear": (dataclasses.replace(TUNING, schedule=Schedule.linear), {"lr_scheduler_type": "linear", "max_grad_norm": 0.0}),
}
"""Ours, and the same in the Trainer's words; a clip of zero is none there."""


def lora(model: Any) -> Any:
    torch.manual_seed(SEED)
    return peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=32, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))


STRATEGIES: dict[str, tuple[Strategy, Callable[[Any], Any]]] = {"lora": (Lora(lr=1e-2), lora), "full": (Full(lr=1e-3), lambda model: model)}


class Watched(Trainer):
    """transformers' Trainer; what it logs is rounded, so its micro-batches' losses are noted as they are, already divided by the window's tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parts: list[float] = []

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.parts.append(float(loss))
        return loss


def by_transformers(model: Any, windows: list[list[Encoded]], lr: float, settings: dict[str, Any], folder: Path) -> list[float]:
    """Tune ``model`` in place with one pass over the windows' rows in their order; the loss of each optimiser step."""
    rows = [{"input_ids": list(row.ids), "labels": list(row.labels)} for window in windows for row in window]
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=MICRO, gradient_accumulation_steps=ACCUMULATED, num_train_epochs=1, learning_rate=lr,
        optim="adamw_torch", weight_decay=0.0, train_sampling_strategy="sequential", use_cpu=True, save_strategy="no", logging_strategy="no",
        disable_tqdm=True, report_to="none", **settings,
    )  # fmt: skip
    trainer = Watched(model, arguments, data_collator=DataCollatorForSeq2Seq(Tiny().load_tokenizer(Path())), train_dataset=rows)
    trainer.train()
    assert len(trainer.parts) == STEPS * ACCUMULATED and trainer.state.global_step == STEPS
    return [sum(trainer.parts[at : at + ACCUMULATED]) for at in range(0, len(trainer.parts), ACCUMULATED)]


def fresh() -> Any:
    return Tiny().load(Path()).module


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_loss_curve_is_that_of_transformers_trainer(name: str, settings: str, tmp_path: Path) -> None:
    (strategy, wrapped), (tuning, theirs) = STRATEGIES[name], SETTINGS[settings]
    windows = plan_windows(ROWS, tuning, Tiny().load_tokenizer(Path()), Context(0), [])
    assert len(windows) == STEPS and len({tuple(row.id for row in window) for window in windows}) > STEPS / 2
    halves = [sum(row.labelled for row in window[:MICRO]) / sum(row.labelled for row in window) for window in windows]
    assert max(halves) > 0.6, "micro-batches of equal length would not show how a window's mean is taken"
    reference, model = wrapped(fresh()), strategy.attach(fresh(), SEED)
    expected = by_transformers(reference, windows, strategy.lr, theirs, tmp_path)
    losses = tune(model, windows, tuning, strategy.lr, [], Context(0)).losses
    assert losses == pytest.approx(expected, abs=1e-5)
    assert expected[-1] < expected[0] - 0.05, "a curve that goes nowhere proves little"
    moving = {key: p.detach() for key, p in reference.named_parameters() if p.requires_grad}
    assert moving.keys() == {key for key, p in model.named_parameters() if p.requires_grad}
    # AdamW divides by each gradient's own size, so where a gradient is next to nothing its rounding shows
    assert all(float((p.detach() - moving[key]).abs().max()) < 1e-3 for key, p in model.named_parameters() if p.requires_grad)
