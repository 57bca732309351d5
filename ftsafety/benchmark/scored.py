"""Benchmarks that score answers by themselves, besides what is judged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ftsafety.benchmark.base import Benchmark


class Scored(Benchmark):
    """A benchmark of kind utility whose references say more of an answer than that it is right or wrong."""

    @abstractmethod
    def scores(self, answers: Sequence[str]) -> dict[str, list[float | None]]:
        """Metric to one value per question, in order; None where it says nothing of a question, whatever the answer."""
