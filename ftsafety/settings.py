"""Typed settings of a run that are numbers rather than components: tuning, decoding, gate, paths."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ftsafety.errors import ConfigError


class Schedule(str, Enum):
    """How the learning rate moves: constant, step (once per epoch), cosine or linear to zero."""

    constant = "constant"
    step = "step"
    cosine = "cosine"
    linear = "linear"


class Optimiser(str, Enum):
    """AdamW with float32 states, AdamW with 8-bit ones (tensors under 4,096 values keep float32), or plain SGD."""

    adamw = "adamw"
    adamw8bit = "adamw8bit"
    sgd = "sgd"


PRECISIONS = ("32-true", "bf16-true", "bf16-mixed")


def _require(kept: bool, sentence: str) -> None:
    if not kept:
        raise ConfigError(sentence)


@dataclass
class Tuning:
    """How long and in what portions a model is tuned (Qi et al. 2024, section 4 and appendix F give the defaults' origin)."""

    epochs: int = 20
    """Passes over the rows."""
    batch_size: int = 10
    """Rows of one optimiser step, over all micro-batches and processes."""
    micro_batch: int = 0
    """Rows of one forward pass; 0 is whatever computes least on a CPU and the whole batch elsewhere. Changes memory and speed, never the result."""
    share_prefix: bool = True
    """Compute what a batch's rows begin with once, where that is exact. Changes speed, never more than the last bits."""
    max_length: int = 1024
    """Tokens of the longest row; a row whose answer would be cut is an error unless ``allow_cut``."""
    allow_cut: bool = False
    """Train on rows whose end is cut off (the paper's code does, and loses their end token)."""
    shuffle: bool = True
    """Draw a new order each epoch (the paper's code keeps one)."""
    optimiser: Optimiser = Optimiser.adamw
    """Which optimiser moves the weights."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    beta1: float = 0.9
    """AdamW's first decay rate."""
    beta2: float = 0.999
    """AdamW's second decay rate."""
    eps: float = 1e-8
    """AdamW's division guard."""
    schedule: Schedule = Schedule.step
    """How the learning rate moves after warm-up; the paper's code lowers it once per epoch."""
    gamma: float = 0.85
    """Factor per epoch under ``schedule=step`` (the paper's code: 0.85)."""
    warmup_steps: int = 0
    """Optimiser steps in which the learning rate rises linearly from zero."""
    clip: float | None = None
    """Largest norm of the gradient; null leaves it alone, as the paper does."""
    precision: str = "32-true"
    """Lightning's name for the arithmetic: 32-true, bf16-true, bf16-mixed."""
    checkpoint_seconds: float = 600.0
    """A tuning saves its state this often, so that a killed one goes on; shorter ones start again."""

    not_in_recipe: ClassVar[frozenset[str]] = frozenset({"micro_batch", "share_prefix", "checkpoint_seconds", "max_length", "allow_cut", "shuffle", "epochs"})
    """Left out of a tuning's key: speed, and what the rendered windows hold already."""

    def recipe(self) -> dict[str, Any]:
        """What the tuning's key holds of these settings."""
        values = {k: v.value if isinstance(v, Enum) else v for k, v in vars(self).items() if k not in self.not_in_recipe}
        if self.schedule is not Schedule.step:
            del values["gamma"]
        else:
            values["epochs"] = self.epochs
        return values

    def whole_recipe(self) -> dict[str, Any]:
        """All that can change a run: the tuning's own recipe, and what enters a stage's key through the windows."""
        return {**self.recipe(), "epochs": self.epochs, "shuffle": self.shuffle, "max_length": self.max_length, "allow_cut": self.allow_cut}

    def check(self, where: str) -> None:
        """Refuse numbers that no tuning can have; ``where`` is the settings' place in the configuration."""
        for name in ("batch_size", "max_length"):
            _require(getattr(self, name) >= 1, f"{where}.{name}={getattr(self, name)} is not possible; give at least 1.")
        for name in ("micro_batch", "warmup_steps", "weight_decay", "checkpoint_seconds"):
            _require(getattr(self, name) >= 0, f"{where}.{name}={getattr(self, name)} is not possible; give 0 or more.")
        for name in ("eps", "gamma"):
            _require(getattr(self, name) > 0, f"{where}.{name}={getattr(self, name)} is not possible; give more than 0.")
        for name in ("beta1", "beta2"):
            _require(0 <= getattr(self, name) < 1, f"{where}.{name}={getattr(self, name)} is not possible; give at least 0 and less than 1.")
        _require(self.clip is None or self.clip > 0, f"{where}.clip={self.clip} would stop all learning; give more than 0, or null for no clipping.")
        _require(
            self.optimiser is not Optimiser.adamw8bit or find_spec("bitsandbytes") is not None,
            f"{where}.optimiser=adamw8bit needs bitsandbytes, which is not installed; type pip install bitsandbytes, or {where}.optimiser=adamw.",
        )
        _require(self.precision in PRECISIONS, f"{where}.precision={self.precision} does not exist; it takes {', '.join(PRECISIONS)}.")

    def rate_at(self, step: int, total: int) -> float:
        """Factor of the learning rate at an optimiser step, counted from 0, of ``total``."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        if self.schedule is Schedule.cosine:
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule is Schedule.linear:
            return 1 - done
        if self.schedule is Schedule.step:
            return self.gamma ** int(step * self.epochs / total)
        return 1.0


@dataclass
class Decoding:
    """How questions are answered."""

    max_new_tokens: int = 96
    """Tokens after which an answer is cut; the share of cut answers is reported."""
    temperature: float = 0.0
    """0 is greedy, as in the paper; above, answers are drawn."""
    top_p: float = 1.0
    """Share of probability that is drawn from, when drawing."""
    batch: int = 128
    """Most questions decoded at the same time; they are spread evenly. Changes memory and speed: on a CPU, 66 at once take 2/3 of the time of twice 33."""

    not_in_recipe: ClassVar[frozenset[str]] = frozenset({"batch"})

    def check(self) -> None:
        """Refuse numbers that no decoding can have."""
        for name in ("max_new_tokens", "batch"):
            _require(getattr(self, name) >= 1, f"decoding.{name}={getattr(self, name)} is not possible; give at least 1.")
        _require(self.temperature >= 0, f"decoding.temperature={self.temperature} is not possible; give 0 (greedy) or more.")
        _require(0 < self.top_p <= 1, f"decoding.top_p={self.top_p} is not possible; give more than 0 and at most 1.")

    def recipe(self, seed: int) -> dict[str, Any]:
        """What an answer's key holds of these settings; a seed only where answers are drawn."""
        if self.temperature == 0:
            return {"max_new_tokens": self.max_new_tokens}
        return {"max_new_tokens": self.max_new_tokens, "temperature": self.temperature, "top_p": self.top_p, "seed": seed}


@dataclass
class Gate:
    """Limits that turn a run into a test: exit code 0 passed, 2 failed, 3 not enough evidence. Null limits are not tested."""

    max_compliance: float | None = None
    """Largest compliance rate after tuning, in any prompt condition; between 0 and 1."""
    max_increase: float | None = None
    """Largest rise of the compliance rate, same questions before and after; between 0 and 1."""
    max_over_refusal: float | None = None
    """Largest share of allowed questions refused after tuning; between 0 and 1."""
    rehearse: bool = False
    """Let the gate run on the stand-in, where a pass says nothing about a deployed model."""


@dataclass
class Paths:
    """Where things are kept."""

    runs: str = "runs"
    """Folder of run folders."""
    store: str | None = None
    """Folder of the artifact store; null is FTSAFETY_STORE or the user's cache folder."""
    same_platform: bool = False
    """Never take a shared store's artifacts that another kind of processor, system or Python version made."""


def default_store() -> Path:
    """The artifact store when no path is set: ``FTSAFETY_STORE``, or the user's cache folder."""
    import os

    if chosen := os.environ.get("FTSAFETY_STORE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ftsafety"


@dataclass
class Root:
    """The root of the configuration: what a run is made of. Hydra refuses keys that are not here; ``build`` those added with a plus."""

    model: Any = None
    attack: Any = None
    align: Any = None
    strategy: Any = None
    mitigation: dict[str, Any] = field(default_factory=dict)
    policy: Any = None
    benchmark: dict[str, Any] = field(default_factory=dict)
    judge: dict[str, Any] = field(default_factory=dict)
    trainer: Any = None
    logger: Any = None
    probe: Any = None
    tuning: Tuning = field(default_factory=Tuning)
    decoding: Decoding = field(default_factory=Decoding)
    gate: Gate = field(default_factory=Gate)
    paths: Paths = field(default_factory=Paths)
    seed: int = 0
    controls: bool = False
    max_unscored: float = 0.02
    reveal: bool = False
    dry_run: bool = False
