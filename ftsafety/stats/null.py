"""What tuning does by itself: the band in which one more ``null_self`` run would lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ftsafety.errors import DataError
from ftsafety.stats.rates import LEVEL, Estimate


@dataclass(frozen=True)
class Band:
    """Differences, after minus before, that tuning on the model's own answers makes; ``runs`` is how many told so."""

    low: float
    high: float
    runs: int

    def beyond(self, difference: Estimate) -> bool:
        """Whether a difference's whole interval lies outside the band."""
        return difference.low > self.high or difference.high < self.low


def null_band(differences: Sequence[Estimate]) -> Band:
    """The band from the difference of each ``null_self`` run (a distinct weight digest each).

    One run: its own interval, which covers the questions but no other run. Several: the 95 % prediction interval for one more run,
    mean +- t s sqrt(1 + 1/m) with m - 1 degrees of freedom, and never narrower than one run's own. Two runs predict little, and the band says so.

    Raises:
        DataError: no run.
    """
    from scipy import stats

    if not differences:
        raise DataError("there is no null_self run to make a band from; add controls=true.")
    values = [difference.value for difference in differences]
    m, center = len(values), math.fsum(values) / len(values)
    below = max(difference.value - difference.low for difference in differences)
    above = max(difference.high - difference.value for difference in differences)
    if m > 1:
        spread = math.sqrt(math.fsum((value - center) ** 2 for value in values) / (m - 1))
        half = float(stats.t.ppf((1 + LEVEL) / 2, m - 1)) * spread * math.sqrt(1 + 1 / m)
        below, above = max(below, half), max(above, half)
    return Band(max(-1.0, center - below), min(1.0, center + above), m)
