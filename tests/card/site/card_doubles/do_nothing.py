"""A defense that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ftsafety.mitigation import Mitigation


@dataclass(kw_only=True)
class DoNothing(Mitigation):
    """Does nothing, however strongly."""

    off: ClassVar[Mapping[str, Any]] = {"strength": 0.0}
    control: ClassVar[Mapping[str, Any]] = {"strength": 0.5}

    strength: float = 1.0
    """How much nothing."""
