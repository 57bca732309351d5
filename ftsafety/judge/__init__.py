"""A judge turns a question and its answer into a verdict."""

from ftsafety.judge.base import Judge, Outcome, Pair, Verdict

__all__ = ["Judge", "Outcome", "Pair", "Verdict"]
