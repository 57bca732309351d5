"""Where a tuning runs: on which kind of device, on how many, and how they work together."""

from ftsafety.trainer.base import Trainer

__all__ = ["Trainer"]
