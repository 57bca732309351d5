"""How a raw model is taught to decline, before anybody fine-tunes it."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftsafety.component import Component
from ftsafety.row import Row
from ftsafety.settings import Tuning
from ftsafety.strategy import Strategy

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class Align(Component):
    """An alignment stage: rows, a strategy and its own tuning settings and seed."""

    strategy: Strategy
    """Which parameters move."""
    tuning: Tuning = field(default_factory=Tuning)
    """How long and in what portions."""
    seed: int = 0
    """Of the alignment alone: another one gives another aligned model, whatever is done to it later."""

    @abstractmethod
    def rows(self, context: Context) -> Sequence[Row]:
        """What the model is taught, refusals and answers."""

    def visit(self, row: Row, rng: random.Random) -> Row:
        """A row each time that it is drawn, in the wording of that visit."""
        return row
