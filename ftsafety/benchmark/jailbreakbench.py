"""JBB-Behaviors: misuse behaviours, and benign ones on the same topics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Categorised

HALVES = ("harmful", "benign")


@dataclass(kw_only=True)
class Jailbreakbench(Categorised):
    """Behaviours in ten categories: the harmful half is disallowed, its benign twins are allowed."""

    source = "Chao et al. 2024 (arXiv 2404.01318); JailbreakBench/JBB-Behaviors on the hub"
    fidelity = "their goals, asked directly; their judges are judges"
    patterns = tuple(f"{half}-behaviors.csv" for half in HALVES)

    half: Literal["harmful", "benign"] = "harmful"
    """Which half is asked; row n of one is the twin of row n of the other."""
    expected: int | None = 100
    """How many a half must have; null checks nothing."""

    def __post_init__(self) -> None:
        self.kind = "disallowed" if self.half == "harmful" else "allowed"

    def files(self) -> list[Path]:
        return self.part("half", f"{self.half}-behaviors.csv", self.patterns)

    def read(self) -> list[Question]:
        records = self.titled("Goal", "Category")
        self.expect(f"{self._where()} ({self.half})", len(records), self.expected)
        return [Question(self.id_of(self.half, at), record.text("Goal"), record.text("Category")) for at, record in enumerate(records, 1)]
