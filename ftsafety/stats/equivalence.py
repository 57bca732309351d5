"""Preserved, and not merely "no difference found": two one-sided tests against a margin that is stated beforehand.

Something is preserved at 5 % when both tests reject, which is when the 90 % interval lies inside the margin. Differences of paired
shares: Tango's score test (1998, Statistics in Medicine 17, 891), which statsmodels lacks. Means: paired t-tests. Several runs: ``crossed``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ftsafety.errors import ConfigError
from ftsafety.stats.crossed import Crossed
from ftsafety.stats.rates import LEVEL, Estimate, paired_mean

TEST_LEVEL = 2 * LEVEL - 1
"""Level of the two-sided interval that two one-sided tests at 5 % each correspond to."""


@dataclass(frozen=True)
class Equivalence:
    """The difference with its 90 % interval, the margin, and the larger p-value of the two one-sided tests."""

    difference: Estimate
    margin: float
    p_value: float

    @property
    def preserved(self) -> bool:
        """Whether a difference as large as the margin is refuted in both directions."""
        return self.p_value < 1 - LEVEL


def preserved_rate(before: Sequence[bool], after: Sequence[bool], margin: float) -> Equivalence:
    """Whether a share is the same to within ``margin``, on the same questions before and after.

    Raises:
        ConfigError: a margin that is not between 0 and 1.
    """
    _check(margin, 1.0)
    rise = sum(a and not b for b, a in zip(before, after, strict=True))
    fall = sum(b and not a for b, a in zip(before, after, strict=True))
    n = len(before)
    if not n:
        return Equivalence(Estimate(0.0, -1.0, 1.0, 0, 1.0), margin, 1.0)
    difference = (rise - fall) / n
    low, high = _tango_interval(rise, fall, n, TEST_LEVEL)
    p_value = max(_normal_tail(tango(rise, fall, n, -margin)), _normal_tail(-tango(rise, fall, n, margin)))
    return Equivalence(Estimate(difference, low, high, n), margin, p_value)


def preserved_mean(before: Sequence[float], after: Sequence[float], margin: float) -> Equivalence:
    """Whether a mean (a loss, a score) is the same to within ``margin``, in its own unit.

    Raises:
        ConfigError: a margin that is not above 0.
    """
    from scipy import stats
    from statsmodels.stats.weightstats import DescrStatsW

    _check(margin, math.inf)
    differences = [a - b for b, a in zip(before, after, strict=True)]
    estimate = paired_mean(before, after)
    if len(differences) < 2:
        return Equivalence(Estimate(estimate.value, -math.inf, math.inf, len(differences)), margin, 1.0)
    if max(differences) == min(differences):
        return Equivalence(Estimate(estimate.value, estimate.value, estimate.value, estimate.n), margin, 0.0 if abs(estimate.value) < margin else 1.0)
    half = float(stats.t.ppf((1 + TEST_LEVEL) / 2, estimate.n - 1) * stats.sem(differences))
    p_value = float(DescrStatsW(differences).ttost_mean(-margin, margin)[0])
    return Equivalence(Estimate(estimate.value, estimate.value - half, estimate.value + half, estimate.n), margin, p_value)


def preserved_crossed(difference: Crossed, margin: float) -> Equivalence:
    """Whether a difference over questions and runs lies within ``margin``.

    Raises:
        ConfigError: a margin that is not above 0.
    """
    _check(margin, math.inf)
    low, high = difference.interval(TEST_LEVEL)
    inside = -margin < difference.center < margin
    p_value = max(difference.p_value(-margin), difference.p_value(margin)) / 2 if inside else 1.0
    return Equivalence(Estimate(difference.value, low, high, difference.n), margin, p_value)


def tango(rise: int, fall: int, n: int, null: float) -> float:
    """Tango's score statistic, standard normal where the difference of two paired shares is ``null``.

    Args:
        rise: pairs that turned from no to yes.
        fall: pairs that turned from yes to no.
    """
    difference = rise - fall - n * null
    a, b, c = 2 * n, -rise - fall + (2 * n - rise + fall) * null, -fall * null * (1 - null)
    fallen = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * fallen + null * (1 - null))
    if variance <= 1e-12:
        return 0.0 if abs(difference) < 1e-12 else math.copysign(math.inf, difference)
    return difference / math.sqrt(variance)


def _tango_interval(rise: int, fall: int, n: int, level: float) -> tuple[float, float]:
    """The differences that the score test does not reject."""
    from scipy import stats
    from scipy.optimize import brentq

    quantile = float(stats.norm.ppf((1 + level) / 2))
    at = (rise - fall) / n

    def bound(side: float) -> float:
        end, target = side, -side * quantile
        # at the very end no variance is left, and the statistic is endless or zero
        inner = side * (1 - 1e-9)
        if (tango(rise, fall, n, inner) - target) * side > 0:
            return end
        return float(brentq(lambda null: max(-1e6, min(1e6, tango(rise, fall, n, null))) - target, min(at, inner), max(at, inner)))

    return bound(-1.0), bound(1.0)


def _normal_tail(z: float) -> float:
    from scipy import stats

    return float(stats.norm.sf(z))


def _check(margin: float, most: float) -> None:
    if not 0 < margin < most:
        raise ConfigError(f"a margin of {margin} is not possible; give the largest difference that would not matter, such as 0.03 for three points.")
