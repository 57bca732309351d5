"""Which parameters move when a model is fine-tuned."""

from ftsafety.strategy.base import Strategy

__all__ = ["Strategy"]
