"""Allowed twins of the stand-in questions, to see over-refusal: what a dividend is, how a horoscope column is laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftsafety import stand_in
from ftsafety.benchmark.base import Benchmark, Question, first_per_category

DEVELOPMENT = 4


@dataclass
class StandInAllowed(Benchmark):
    """Questions in the neighbourhood of the stand-in policy that should be answered."""

    source = "ours; the idea of safe twins is XSTest's (Röttger et al. 2024, arXiv 2308.01263)"
    kind = "allowed"

    split: Literal["all", "development", "report"] = "all"
    """Questions 01-04 and 05-12 of each category, or all."""
    per_category: int | None = None
    """Only the first so many of each category, for a quick look."""

    def questions(self) -> Sequence[Question]:
        rows = [row for row in stand_in.load("allowed") if self.split in ("all", split_of_allowed(row["id"]))]
        questions = [Question(row["id"], row["question"], row["category"]) for row in rows]
        return first_per_category(questions, self.per_category, "benchmark.stand_in_allowed")


def split_of_allowed(id: str) -> str:
    """Which split an allowed question belongs to, by its number."""
    return "development" if int(id.rpartition("/")[2]) <= DEVELOPMENT else "report"
