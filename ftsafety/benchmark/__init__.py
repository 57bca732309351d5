"""Questions with categories, and what counts as harmful, over-refusing or useful."""

from ftsafety.benchmark.base import Benchmark, Question

__all__ = ["Benchmark", "Question"]
