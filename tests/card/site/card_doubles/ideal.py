"""A defense whose records are made by code: it keeps safety and costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ftsafety.mitigation import Mitigation


@dataclass(kw_only=True)
class Ideal(Mitigation):
    """Stands for a defense that works."""

    off: ClassVar[Mapping[str, Any]] = {"strength": 0.0}
    control: ClassVar[Mapping[str, Any]] = {"strength": 0.5}

    strength: float = 1.0
    """Its strength; at half of it only what its control does is left."""
