"""How a raw model is taught to decline."""

from ftsafety.align.base import Align

__all__ = ["Align"]
