"""The settings that a search may choose from, written as Hydra writes sweeps, and told to Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from ftsafety.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 3
"""Significant digits of a number that is drawn; a cell is named by its settings, and no search tells rates apart further."""


@dataclass(frozen=True)
class Space:
    """``fixed`` overrides of every cell, and what is drawn, by key."""

    fixed: tuple[str, ...]
    drawn: Mapping[str, BaseDistribution]

    @classmethod
    def of(cls, overrides: Sequence[str], loader: ConfigLoader | None = None) -> Space:
        """Sort overrides: ``interval(a,b)`` draws numbers (``int(interval(a,b))`` whole ones, ``tag(log,...)`` on a log scale), other sweeps choose.

        Raises:
            ConfigError: an interval that holds nothing or can't be on a log scale.
        """
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        fixed: dict[str, str] = {}
        drawn: dict[str, BaseDistribution] = {}
        for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
            key = override.get_key_element()
            fixed.pop(key, None)
            drawn.pop(key, None)
            value = override.value() if override.is_sweep_override() else None
            if isinstance(value, IntervalSweep):
                low, high, log = value.start, value.end, "log" in value.tags
                assert low is not None and high is not None
                whole = isinstance(low, int) and isinstance(high, int)
                try:
                    drawn[key] = IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
                except ValueError as error:
                    raise ConfigError(f"{override.input_line} can't be searched: {str(error).rstrip('.')}.") from error
            elif value is not None:
                drawn[key] = CategoricalDistribution(list(override.sweep_string_iterator()))
            else:
                fixed[key] = f"{key}={override.get_value_element_as_str()}"
        return cls(tuple(fixed.values()), drawn)

    def job(self, setting: Mapping[str, Any]) -> list[str]:
        """The overrides of one cell; ``setting`` is a value for each key that is drawn."""
        return [*self.fixed, *(f"{key}={_text(setting[key])}" for key in self.drawn)]


def _text(value: Any) -> str:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
