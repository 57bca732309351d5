"""What a defense has to show: numbers with their meaning and source, read from ``criteria.yaml`` beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf

from ftsafety.hashing import digest_of

LEVEL = 0.05
"""A section passes at this level, Holm over the sections that have been tested."""


@dataclass(frozen=True)
class Criterion:
    """One number (or list of names), what it means, and where it comes from."""

    name: str
    value: Any
    means: str
    source: str


@dataclass(frozen=True)
class Criteria:
    """All of them, by name: ``criteria("reliability.models")`` is a value."""

    all: tuple[Criterion, ...]

    @classmethod
    def shipped(cls) -> Criteria:
        """Those of this version."""
        found: Any = OmegaConf.to_container(OmegaConf.create((files("ftsafety.card") / "criteria.yaml").read_text(encoding="utf-8")))
        return cls(tuple(Criterion(name, one["value"], one["means"], one["source"]) for name, one in found.items()))

    def __call__(self, name: str) -> Any:
        return next(one.value for one in self.all if one.name == name)

    @property
    def digest(self) -> str:
        """Twelve digits that name these criteria."""
        return digest_of([[one.name, one.value, one.means] for one in self.all])[:12]
