"""What is asked of a model while it is tuned."""

from ftsafety.probe.base import Probe

__all__ = ["Probe"]
