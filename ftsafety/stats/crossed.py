"""A claim about a method: questions times runs, each resampled, with as many t-distributions as there are sources of variation.

A run is a distinct weight digest: seeds that change nothing are one run. Questions may come in clusters (a category, an author), runs in
families (an aligned model); what comes in groups is resampled in groups. The resampling is the pigeonhole bootstrap (Owen 2007, Annals of
Applied Statistics 1, 386) one way at a time. Each way's standard error is stretched by sqrt(k / (k - 1)) for its k groups, multiplied by
Student's t with k - 1 degrees of freedom, and the ways are joined by the root of their squares, as Newcombe joins two intervals (Zou and Donner
2008, Statistics in Medicine 27, 1693). So three runs count as three, however many questions each was asked.

Shares near 0 or 1 would get an interval without width; they are drawn towards the middle by four further questions (Agresti and Coull
1998) and differences by two (Agresti and Min 2005). The reported value is not moved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ftsafety.errors import DataError
from ftsafety.stats.rates import LEVEL, Estimate

Values = Mapping[str, float]
"""Question id to a value."""
Runs = Mapping[str, Values]
"""Weight digest to the values of that run."""
DRAWS = 2000
RATE = (0.0, 1.0)
CHANGE = (-1.0, 1.0)
"""Bounds of one question's value: of a share, and of a difference of shares."""


@dataclass(frozen=True)
class Source:
    """A source of variation: its name, how many groups were drawn from it and the standard error that it gives the mean."""

    name: str
    groups: int
    error: float


@dataclass(frozen=True)
class Crossed:
    """A mean over questions and runs, or a difference of two, with what it varies by.

    ``center`` is ``value`` drawn towards the middle; intervals lie around it and are cut at ``bounds``.
    """

    value: float
    center: float
    n: int
    runs: int
    sources: tuple[Source, ...]
    bounds: tuple[float, float] | None

    @property
    def covers(self) -> tuple[str, ...]:
        """What an interval speaks for: ``questions`` alone where there is one run."""
        return tuple(source.name for source in self.sources)

    def half_width(self, level: float = LEVEL) -> float:
        """Half the interval's width before it is cut."""
        from scipy.special import stdtrit  # Student's quantile, a hundred times as fast as stats.t.ppf

        return math.hypot(*(float(stdtrit(source.groups - 1, (1 + level) / 2)) * source.error for source in self.sources))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The two-sided interval."""
        half = self.half_width(level)
        low, high = self.bounds or (-math.inf, math.inf)
        return max(low, min(self.value, self.center - half)), min(high, max(self.value, self.center + half))

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided: one minus the level of the interval that just reaches ``null``."""
        from scipy.optimize import brentq

        away = abs(self.center - null)
        if away == 0 or self.half_width(0.0) >= away:
            return 1.0
        smallest = 1e-12
        if self.half_width(1 - smallest) <= away:
            return smallest
        return float(brentq(lambda p: self.half_width(1 - p) - away, smallest, 1.0))

    def estimate(self, level: float = LEVEL) -> Estimate:
        """Value, interval, number of questions, and the test against zero."""
        return Estimate(self.value, *self.interval(level), self.n, self.p_value())


def distinct(runs: Iterable[tuple[str, Values]]) -> dict[str, Values]:
    """Runs by weight digest; equal weights were asked equal questions, so the first of each counts."""
    found: dict[str, Values] = {}
    for digest, values in runs:
        found.setdefault(digest, values)
    return found


def crossed(
    runs: Runs,
    others: Runs | None = None,
    *,
    clusters: Mapping[str, str] | None = None,
    families: Mapping[str, str] | None = None,
    bounds: tuple[float, float] | None = RATE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Crossed:
    """The mean over questions and runs; with ``others`` the difference, runs minus others, on the questions that both were asked.

    Args:
        clusters: question to cluster; None takes each question by itself.
        families: weight digest to family; None takes each run by itself.
        bounds: of one question's value: ``RATE``, ``CHANGE`` (after minus before), or None where there are none, as with losses.
        draws: resamplings per source.

    Raises:
        DataError: fewer than two questions (or clusters of them) that all sides were asked, or a run without any of them.
    """
    sides = [runs] if others is None else [runs, others]
    asked = [{question for values in side.values() for question in values} for side in sides]
    questions = sorted(set.intersection(*asked))
    groups = sorted({clusters[question] for question in questions}) if clusters else questions
    if len(groups) < 2:
        raise DataError(f"there are {len(groups)} {'clusters' if clusters else 'questions'} that both sides were asked; at least 2 are needed.")
    tables = [_Table(side, questions, groups, clusters, families) for side in sides]

    value = _difference([float(table.sums.sum() / table.counts.sum()) for table in tables])
    weights = _draws(len(groups), draws, seed)
    by_question = _difference([(weights @ table.sums.sum(1)) / (weights @ table.counts.sum(1)) for table in tables])
    shrink, center, extra = _towards_the_middle(value, len(questions), bounds, len(sides))
    spread = _stretched(by_question, len(groups)) * shrink
    sources = [Source("questions", len(groups), math.hypot(spread, extra))]
    for name, table in zip(("runs", "other runs"), tables, strict=False):
        if table.families > 1:
            weights = _draws(table.families, draws, seed)
            by_run = (weights @ table.family_sums) / (weights @ table.family_counts)
            sources.append(Source(name, table.families, _stretched(by_run, table.families) * shrink))
    limits = None if bounds is None else bounds if len(sides) == 1 else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    return Crossed(value, center, len(questions), len(runs), tuple(sources), limits)


class _Table:
    """One side's sums and counts by cluster and run (arrays of clusters x runs), and by family of runs."""

    def __init__(self, runs: Runs, questions: Sequence[str], groups: Sequence[str], clusters: Mapping[str, str] | None, families: Mapping[str, str] | None):
        import numpy as np

        place = {group: at for at, group in enumerate(groups)}
        row = {question: place[clusters[question] if clusters else question] for question in questions}
        self.sums, self.counts = np.zeros((len(groups), len(runs))), np.zeros((len(groups), len(runs)))
        for at, values in enumerate(runs.values()):
            known = [(row[question], value) for question, value in values.items() if question in row]
            rows = np.array([place for place, _ in known], dtype=int)
            np.add.at(self.sums[:, at], rows, np.array([value for _, value in known], dtype=float))
            np.add.at(self.counts[:, at], rows, 1.0)
        names = [families[digest] if families else digest for digest in runs]
        order = {name: at for at, name in enumerate(dict.fromkeys(names))}
        self.families = len(order)
        self.family_sums, self.family_counts = np.zeros(self.families), np.zeros(self.families)
        np.add.at(self.family_sums, [order[name] for name in names], self.sums.sum(0))
        np.add.at(self.family_counts, [order[name] for name in names], self.counts.sum(0))
        if not self.family_counts.all():
            raise DataError("a run has no value for any of the questions that all sides were asked, so it can't be compared; leave it out.")


@lru_cache(maxsize=16)
def _draws(groups: int, draws: int, seed: int) -> Any:
    """How often each group is drawn: draws x groups, each row adding to the number of groups."""
    import numpy as np

    return np.random.default_rng(seed).multinomial(groups, [1 / groups] * groups, size=draws).astype(float)


def _difference(sides: Sequence[Any]) -> Any:
    return sides[0] if len(sides) == 1 else sides[0] - sides[1]


def _stretched(means: Any, groups: int) -> float:
    return float(means.std()) * math.sqrt(groups / (groups - 1))


def _towards_the_middle(value: float, n: int, bounds: tuple[float, float] | None, sides: int) -> tuple[float, float, float]:
    """Shrinkage of what varies, the moved center, and the standard error that the further questions bring."""
    if bounds is None:
        return 1.0, value, 0.0
    low, high = bounds if sides == 1 else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    further = [(0.5, low), (0.5, high), (1.0, 0.0)] if low < 0 < high else [(2.0, low), (2.0, high)]
    total = n + sum(weight for weight, _ in further)
    center = (n * value + sum(weight * at for weight, at in further)) / total
    return n / total, center, math.sqrt(sum(weight * (at - center) ** 2 for weight, at in further)) / total
