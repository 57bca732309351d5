"""How well a score tells two groups apart: the area under the ROC curve, and what it finds at a false positive rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ftsafety.errors import DataError
from ftsafety.stats.rates import LEVEL, Estimate


def roc_area(positives: Sequence[float], negatives: Sequence[float]) -> Estimate:
    """The share of pairs in which the positive has the higher score, ties counted half (Mann and Whitney); n is the number of both.

    Interval: Newcombe 2006 (Statistics in Medicine 25, 559), method 5, which has a width at 0 and 1 too. It takes all scores for independent.

    Raises:
        DataError: a group is empty.
    """
    from scipy.optimize import brentq
    from scipy.stats import mannwhitneyu, norm

    m, n = len(positives), len(negatives)
    if not m or not n:
        raise DataError("a ROC curve needs scores of both groups.")
    area = float(mannwhitneyu(positives, negatives).statistic) / (m * n)
    z, other = float(norm.ppf((1 + LEVEL) / 2)), (m + n) / 2 - 1

    def deviation(true: float) -> float:
        spread = true * (1 - true) * (1 + other * (1 - true) / (2 - true) + other * true / (1 + true)) / (m * n)
        return abs(area - true) - z * math.sqrt(max(0.0, spread))

    # at an area of 0 or 1 both sides of the equation vanish there: a hair inside, it has a sign
    hair = 1e-12
    low = float(brentq(deviation, 0.0, area - hair)) if area > hair else 0.0
    high = float(brentq(deviation, area + hair, 1.0)) if area < 1 - hair else 1.0
    return Estimate(area, low, high, m + n)


def threshold_at(negatives: Sequence[float], rate: float) -> float:
    """The lowest threshold at which at most a share ``rate`` of these scores is at or above it; just above the highest where none is.

    Raises:
        DataError: there are no scores.
    """
    if not negatives:
        raise DataError("a threshold needs scores of the group that is not to be found.")
    allowed = math.floor(rate * len(negatives) + 1e-9)
    highest = sorted(negatives, reverse=True)
    return math.nextafter(highest[allowed], math.inf) if allowed < len(highest) else min(highest)
