"""Sweepers: which cells a multirun asks for. A grid is Hydra's own; ``hydra/sweeper=worst_case`` searches."""

from ftsafety.sweeper.worst_case import WorstCase

__all__ = ["WorstCase"]
