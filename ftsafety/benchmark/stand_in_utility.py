"""Held-out benign questions with short answers: what a model still knows and how well it predicts a good answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftsafety import stand_in
from ftsafety.benchmark.base import Benchmark, Question, first


@dataclass
class StandInUtility(Benchmark):
    """Short-answer accuracy, and loss in nats per token on the reference answer."""

    source = "ours"
    kind = "utility"

    limit: int | None = None
    """Only the first so many questions."""

    def questions(self) -> Sequence[Question]:
        questions = [Question(row["id"], row["question"], None, row["answer"], tuple(row["accept"])) for row in stand_in.load("utility")]
        return first(questions, self.limit, "benchmark.stand_in_utility")
