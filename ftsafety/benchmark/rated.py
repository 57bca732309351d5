"""Benchmarks without known answers: judges rate what is said, and a question may go on with a conversation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ftsafety.benchmark.base import Benchmark


class Rated(Benchmark):
    """A benchmark of kind utility whose answers are rated by judges; a question's reference, if any, is for them to see."""

    @abstractmethod
    def goes_on(self) -> Sequence[int | None]:
        """For each question the place of the one whose answer it goes on from, always an earlier one; None begins a conversation."""
