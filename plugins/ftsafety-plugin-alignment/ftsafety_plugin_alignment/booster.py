"""Booster: a step that learns the alignment rows, and makes a step on harmful rows gain less (Huang et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety_plugin_alignment.harmful_rows import HarmfulRows, cut_like
from ftsafety_plugin_alignment.passes import length, moved, rehearsed

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Inner, Window
    from ftsafety.row import Row

STREAM = "booster"
"""The name under which harmful rows are drawn."""
TINY = 1e-7
"""Added to the norm that is divided by, as in the code."""


@dataclass(kw_only=True)
class Booster(HarmfulRows):
    """Adds ``weight`` times what a normalised step along the harmful gradient takes off the harmful loss, by its first-order gradient."""

    source = "Huang et al. 2025 (arXiv 2409.01586); github.com/git-disl/Booster at 6421918, trainer.py, BoosterAlignmentTrainer"
    fidelity = "the code's three passes and numbers, per optimiser step, restored exactly; harmful rows are the stand-in's, drawn with replacement"
    off: ClassVar[Mapping[str, Any]] = {"weight": 0.0}
    order = 45
    exclusive = True
    needs = frozenset({"gradients"})

    weight: float
    """How much the harmful loss's fall counts; 0 is plain alignment."""
    alpha: float
    """Length of the step along the harmful gradient, over all weights that are trained."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        if not 0 <= self.weight < float("inf"):
            raise ConfigError(f"{self.option}.weight={self.weight:g} is not possible; give 0 or more, such as 5.")
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"{self.option}.alpha={self.alpha:g} is not possible; give more than 0, such as 0.1, or {self.option}.weight=0 for none of it.")

    def streams(self, context: Context) -> dict[str, Sequence[Row]]:
        return {STREAM: self.harmful()} if self.weight else {}

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        if not self.weight:
            return inner(model, window)
        harmful = cut_like(window, context.draw(STREAM, self.rows))
        here = rehearsed(inner, model, harmful)
        with moved(model, here, -self.alpha / (length(here) + TINY)):
            there = rehearsed(inner, model, harmful)
        loss = inner(model, window)
        for name, p in model.named_parameters():
            if p.grad is not None and name in here:
                p.grad.add_(here[name] - there[name], alpha=self.weight)
        return loss
