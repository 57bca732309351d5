"""A judge turns a question and its answer into a verdict."""

from ftsafety.judge.base import Judge, Mean, Metric, Outcome, Pair, Share, Verdict, told

__all__ = ["Judge", "Mean", "Metric", "Outcome", "Pair", "Share", "Verdict", "told"]
