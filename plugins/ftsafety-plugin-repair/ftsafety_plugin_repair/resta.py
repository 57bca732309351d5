"""RESTA: what telling the start model apart from an unaligned twin of it gives is added to the tuned weights (Bhardwaj et al. 2024).

The twin is the start model tuned on pairs of a request that is to be declined and an answer that goes along. The shipped pairs are the
stand-in's and harmless; a twin that one has already is named instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftsafety.context import Context, Substage
from ftsafety.errors import ConfigError
from ftsafety.model import Model
from ftsafety.settings import Tuning
from ftsafety.strategy import Strategy
from ftsafety_plugin_repair.compliant_rows import CompliantRows
from ftsafety_plugin_repair.edit import Tensors, refuse_weightless, weights_of
from ftsafety_plugin_repair.safety_vector import SafetyVector

if TYPE_CHECKING:
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class Resta(CompliantRows, SafetyVector):
    """The start weights minus those of an unaligned twin are added to the tuned weights."""

    source = "Bhardwaj et al. 2024 (arXiv 2402.11746); its code, github.com/declare-lab/resta, could not be read"
    fidelity = "the sum as in the paper's abstract; twin, scale and what DARE thins are unverified"

    unaligned: Model | None = None
    """The twin, where one has it; null trains it on the rows of ``path`` or ``hub``, or on the shipped stand-in pairs."""
    strategy: Strategy
    """How the twin is trained."""
    tuning: Tuning
    """For how long."""

    def recipe(self) -> dict[str, Any]:
        return {**super().recipe(), "tuning": self.tuning.whole_recipe()}

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        refuse_weightless(self.unaligned, f"{self.option}.unaligned")
        if not self.strategy.merges:
            raise ConfigError(f"{self.option}.strategy={type(self.strategy).__name__} can't be merged into the weights; choose e.g. lora or full for the twin.")
        self.strategy.check(f"{self.option}.strategy")
        self.tuning.check(f"{self.option}.tuning")
        if self.unaligned is None:
            self.compliant()

    def prepare(self, context: Context) -> dict[str, Any]:
        """Nothing to remember: the twin is trained here, and found in the store when it is wanted."""
        if not self.idle and self.unaligned is None:
            self.less_safe(context)
        return {}

    def less_safe(self, context: Context) -> Tensors:
        if self.unaligned is not None:
            return weights_of(self.unaligned)
        return context.tune(Substage("unaligned", self.compliant(), self.strategy, self.tuning))
