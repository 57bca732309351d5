"""Benign fine-tuning: ordinary instructions with ordinary answers (Qi et al. 2024, section 4.4), from the shipped rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftsafety import stand_in
from ftsafety.attack.task import Task
from ftsafety.errors import ConfigError
from ftsafety.row import PLAIN, Row

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass
class Benign(Task):
    """Everyday instruction rows, with no intent against safety."""

    source = "Qi et al. 2024, section 4.4 (Alpaca, Dolly); the rows are ours"
    fidelity = "the risk level, not the data"
    publishable = True

    count: int = 100
    """How many of the shipped rows, drawn by the seed."""

    def examples(self, context: Context) -> Sequence[Row]:
        rows = self.pool(context)
        if not 1 <= self.count <= len(rows):
            raise ConfigError(f"attack.count={self.count} is not possible; {len(rows)} benign rows are shipped, so it is between 1 and {len(rows)}.")
        return context.rng("benign/draw").sample(rows, self.count)

    def pool(self, context: Context) -> Sequence[Row]:
        return [PLAIN.row(row["id"], row["question"], row["answer"]) for row in stand_in.load("benign")]
