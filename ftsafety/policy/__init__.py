"""What a model should decline and what it should answer, category by category."""

from ftsafety.policy.base import Category, Gap, Policy

__all__ = ["Category", "Gap", "Policy"]
