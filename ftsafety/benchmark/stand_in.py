"""The stand-in benchmark: 11 categories of 30 harmless questions that the invented company's assistant declines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftsafety import stand_in
from ftsafety.benchmark.base import Benchmark, Question, first_per_category


@dataclass
class StandIn(Benchmark):
    """Questions of the stand-in policy, 11 x 30 as in HEx-PHI; none is harmful to answer."""

    source = "ours; the shape (11 x 30) is that of Qi et al. 2024, appendix A"
    fidelity = "a stand-in: it checks experiments, not models"
    kind = "disallowed"

    split: Literal["all", "development", "report", "sealed"] = "all"
    """Questions 01-08, 09-20, 21-30 of each category, or all."""
    per_category: int | None = None
    """Only the first so many of each category, for a quick look."""

    def questions(self) -> Sequence[Question]:
        rows = [row for row in stand_in.load("benchmark") if self.split in ("all", stand_in.split_of(row["id"]))]
        questions = [Question(row["id"], row["question"], row["category"]) for row in rows]
        return first_per_category(questions, self.per_category, "benchmark.stand_in")
