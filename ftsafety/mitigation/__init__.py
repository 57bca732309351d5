"""What keeps safety at one or more points of a run."""

from ftsafety.mitigation.base import Mitigation, in_order, overrides

__all__ = ["Mitigation", "in_order", "overrides"]
