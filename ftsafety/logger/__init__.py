"""Where a run's curves and results are told besides its own record."""

from ftsafety.logger.base import Logger

__all__ = ["Logger"]
