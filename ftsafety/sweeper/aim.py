"""What a search looks at in a finished run's record: one number to raise, and one that must not rise too far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from omegaconf import MISSING, DictConfig, OmegaConf

from ftsafety.build import did_you_mean
from ftsafety.errors import ConfigError

LAST = ("repaired", "tuned", "initial")
"""Weights of a record, the attacked model's last state first."""


@dataclass
class Aim:
    """A number of a record, by its name and where it was measured; null fields take whatever comes first."""

    metric: str = MISSING
    benchmark: str | None = None
    condition: str | None = None
    judge: str | None = None

    def entry(self, entries: Sequence[dict[str, Any]], where: str) -> dict[str, Any]:
        """The entry that is meant.

        Raises:
            ConfigError: there is none, which no other setting of the same search would mend.
        """
        wanted = {name: value for name, value in self._place.items() if value is not None}
        for entry in entries:
            if all(entry[name] == value for name, value in wanted.items()):
                return entry
        there = sorted({", ".join(f"{name}={entry[name]}" for name in wanted) for entry in entries})
        asked = ", ".join(f"{name}={value}" for name, value in wanted.items())
        raise ConfigError(f"{where}: no run of this search measures {asked}; it measures {'; '.join(there) or 'nothing (is there an attack?)'}.")

    @property
    def _place(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name in ("metric", "benchmark", "condition", "judge")}


@dataclass
class Bound(Aim):
    """A number of a record, as its change from before to after, with the most that it may rise."""

    most: float = MISSING


@dataclass(frozen=True)
class Outcome:
    """What one setting came to; None where it was not measured."""

    value: float | None
    rise: float | None


def outcome(data: dict[str, Any], objective: Aim, bound: Bound | None) -> Outcome:
    """Read a record.

    Args:
        data: ``run.json``.

    Raises:
        ConfigError: the record knows no such number.
    """
    weights = next(label for label in LAST if any(entry["weights"] == label for entry in data["results"]))
    value = objective.entry([entry for entry in data["results"] if entry["weights"] == weights], "hydra.sweeper.objective")
    return Outcome(_number(value), _number(bound.entry(data["differences"], "hydra.sweeper.bound")) if bound else None)


def _number(entry: dict[str, Any]) -> float | None:
    value = entry["value"]
    return float(value) if entry["n"] and value is not None and math.isfinite(value) else None


A = TypeVar("A", bound=Aim)


def typed(node: DictConfig, cls: type[A], where: str) -> A:
    """A part of the sweeper's configuration as what it means.

    Raises:
        ConfigError: a key that does not exist.
    """
    names = list(cls.__dataclass_fields__)
    for key in map(str, node):
        if key not in names:
            raise ConfigError(f"{where}.{key} does not exist; {where} takes {', '.join(names)}.{did_you_mean(key, names)}")
    aim = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), node))
    assert isinstance(aim, cls)
    return aim
