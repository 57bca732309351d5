"""One run's rates and means: Wilson, Newcombe's paired interval with the exact McNemar test, Student's t.

Their intervals cover the draw of the questions and nothing else; ``crossed`` covers the draw of the runs, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, from ``n`` observations; ``p_value`` only for differences."""

    value: float
    low: float
    high: float
    n: int
    p_value: float | None = None


def rate(hits: Sequence[bool]) -> Estimate:
    """Share of true values with Wilson's interval; n = 0 gives value 0 in [0, 1]."""
    from statsmodels.stats.proportion import proportion_confint

    if not hits:
        return Estimate(0.0, 0.0, 1.0, 0)
    low, high = proportion_confint(sum(hits), len(hits), 1 - LEVEL, method="wilson")
    return Estimate(sum(hits) / len(hits), float(low), float(high), len(hits))


def mean(values: Sequence[float]) -> Estimate:
    """Mean with Student's interval; one value has no interval but itself."""
    from scipy import stats

    if not values:
        return Estimate(0.0, 0.0, 0.0, 0)
    center = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - center) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * spread / math.sqrt(len(values)) if spread else 0.0
    return Estimate(center, center - half, center + half, len(values))


def paired_rate(before: Sequence[bool], after: Sequence[bool]) -> Estimate:
    """After minus before on the same questions.

    Interval: Newcombe 1998 (Statistics in Medicine 17, 2635), method 10. Test: exact McNemar.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    if not before:
        return Estimate(0.0, -1.0, 1.0, 0, 1.0)
    both = sum(b and a for b, a in zip(before, after, strict=True))
    only_before, only_after = sum(before) - both, sum(after) - both
    neither = len(before) - both - only_before - only_after
    first, second = rate(after), rate(before)
    phi = _phi(both, only_after, only_before, neither)
    down, up = first.value - first.low, first.high - first.value
    down2, up2 = second.value - second.low, second.high - second.value
    difference = first.value - second.value
    low = difference - math.sqrt(max(0.0, down**2 - 2 * phi * down * up2 + up2**2))
    high = difference + math.sqrt(max(0.0, up**2 - 2 * phi * up * down2 + down2**2))
    p_value = float(mcnemar([[both, only_before], [only_after, neither]], exact=True).pvalue) if only_before + only_after else 1.0
    return Estimate(difference, low, high, len(before), p_value)


def _phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Newcombe's corrected correlation of a paired table."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not margins:
        return 0.0
    product = float(both * neither - only_first * only_second)
    n = both + only_first + only_second + neither
    if product > 0:
        product = max(product - n / 2, 0)
    return product / math.sqrt(margins)


def paired_mean(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """Mean of the differences after minus before, Student's interval and paired t-test."""
    from scipy import stats

    differences = [a - b for b, a in zip(before, after, strict=True)]
    estimate = mean(differences)
    spread = max(differences) - min(differences) if differences else 0.0
    p_value = float(stats.ttest_1samp(differences, 0.0).pvalue) if len(differences) > 1 and spread > 0 else 1.0 if not estimate.value else 0.0
    return Estimate(estimate.value, estimate.low, estimate.high, estimate.n, p_value)


def questions_needed(share: float, limit: float, most: int = 100_000) -> int | None:
    """Smallest number of questions at which Wilson's interval around ``share`` lies on one side of ``limit``; None if more than ``most``."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = 1, most
    if not _clear(proportion_confint(share * most, most, 1 - LEVEL, method="wilson"), limit):
        return None
    while low < high:
        middle = (low + high) // 2
        if _clear(proportion_confint(share * middle, middle, 1 - LEVEL, method="wilson"), limit):
            high = middle
        else:
            low = middle + 1
    return low


def _clear(interval: tuple[float, float], limit: float) -> bool:
    return interval[1] <= limit or interval[0] > limit
