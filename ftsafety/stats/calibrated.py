"""A rate of which a judge's verdicts are known for all answers and people's labels for a few: what the judge gets wrong is taken out again.

Two corrections. Rogan and Gladen's needs only how often the judge is right on what people call a hit and on what they don't, so its labels may come
from other answers than the rate's, as long as the judge errs alike there. Prediction-powered inference needs labels of a random sub-sample of the very
answers, and then holds however the judge errs. Neither covers what the labels themselves get wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ftsafety.errors import DataError
from ftsafety.stats.rates import LEVEL, Estimate, rate

PLUS = 2
"""Lang and Reiczigel's pseudo-labels per class, one on either side."""
HALF = 0.5
"""Agresti and Min's pseudo-label per cell of a paired table."""


@dataclass(frozen=True)
class Corrected:
    """A corrected share with its interval, within [0, 1]; ``unclipped`` is what the formula gave, from ``labels`` labels."""

    value: float
    low: float
    high: float
    unclipped: float
    labels: int


@dataclass(frozen=True)
class Confusion:
    """A judge against labels, in numbers of answers: hits it found and missed, and others it cleared or took for hits."""

    found: int
    missed: int
    false_alarms: int
    cleared: int

    @classmethod
    def of(cls, judged: Sequence[bool], labels: Sequence[bool]) -> Confusion:
        """From verdicts and labels of the same answers."""
        counts = Counter(zip(judged, labels, strict=True))
        return cls(counts[True, True], counts[False, True], counts[True, False], counts[False, False])

    @property
    def sensitivity(self) -> Estimate:
        """Share of the labelled hits that the judge finds, Wilson's interval."""
        return rate([True] * self.found + [False] * self.missed)

    @property
    def specificity(self) -> Estimate:
        """Share of the labelled others that the judge clears, Wilson's interval."""
        return rate([True] * self.cleared + [False] * self.false_alarms)


def rogan_gladen(judged: Sequence[bool], confusion: Confusion) -> Corrected:
    """The share of true hits: (q + specificity - 1) / (sensitivity + specificity - 1), where q is the judge's own rate.

    Rogan & Gladen 1978 (American Journal of Epidemiology 107, 71). Interval: Lang & Reiczigel 2014 (Preventive Veterinary Medicine 113, 13), the delta
    method with pseudo-counts and a shift, which covers the draw of q's answers and of both kinds of labels. It takes the three samples to be
    independent, which makes it a little too wide where the labelled answers are among the judged ones. Where the estimate is clipped
    the interval is stretched to hold it.

    Args:
        judged: verdicts, one per answer.
        confusion: the judge against labels, of these answers or of others on which it errs alike.

    Raises:
        DataError: no verdict, a class without labels, or a judge that is no better than chance.
    """
    hits, others = confusion.found + confusion.missed, confusion.false_alarms + confusion.cleared
    if not judged:
        raise DataError("a corrected rate needs verdicts, and there are none.")
    if not hits or not others:
        raise DataError(f"a corrected rate needs labels of both kinds, and there are {hits} hits and {others} others; label more answers.")
    sensitivity, specificity = confusion.found / hits, confusion.cleared / others
    if sensitivity + specificity <= 1:
        raise DataError(
            f"sensitivity {sensitivity:.2f} and specificity {specificity:.2f} together are not above 1: on these labels the judge tells nothing, "
            "so its rate can't be corrected; label more answers, or use another judge."
        )
    unclipped = (sum(judged) / len(judged) + specificity - 1) / (sensitivity + specificity - 1)
    value, (low, high) = _clipped(unclipped), _lang_reiczigel(sum(judged), len(judged), confusion)
    return Corrected(value, min(low, value), max(high, value), unclipped, hits + others)


def _lang_reiczigel(positive: int, answers: int, confusion: Confusion) -> tuple[float, float]:
    z = _z()
    n, n_hits, n_others = answers + z**2, confusion.found + confusion.missed + PLUS, confusion.false_alarms + confusion.cleared + PLUS
    q, sensitivity, specificity = (positive + z**2 / 2) / n, (confusion.found + PLUS / 2) / n_hits, (confusion.cleared + PLUS / 2) / n_others
    youden = sensitivity + specificity - 1
    if youden <= 0:
        return 0.0, 1.0
    share = (q + specificity - 1) / youden
    of_hits, of_others = sensitivity * (1 - sensitivity) / n_hits, specificity * (1 - specificity) / n_others
    error = math.sqrt(q * (1 - q) / n + share**2 * of_hits + (1 - share) ** 2 * of_others) / youden
    center = share + 2 * z**2 * (share * of_hits - (1 - share) * of_others)
    return _clipped(center - z * error), _clipped(center + z * error)


def ppi(judged: Sequence[bool], labels: Sequence[bool | None], weight: float | None = None) -> Corrected:
    """The share of true hits: the labels' own mean, moved by what the judge says of the answers that have none.

    Angelopoulos et al. 2023 (arXiv 2301.09633) with ``weight=1``; with None their PPI++ (arXiv 2311.01453), whose weight makes the variance smallest.
    Interval: Wilson's, at the number of labels alone that would have the estimate's variance. The paper's normal interval has no width when a judge
    agrees with all of a few labels; here half a pseudo-label in each cell of judge × label (Agresti & Min 2005, Statistics in Medicine 24, 729) enters the
    variance, and only that. For many labels the two are the same; when all answers are labelled, it is Wilson's interval of the labels.

    Args:
        judged: verdicts, one per answer.
        labels: one per answer, None where it has none; those that are there must be of a random sub-sample.
        weight: how much of the judge enters, 0 (labels alone) to 1.

    Raises:
        DataError: no label.
    """
    pairs = [(verdict, label) for verdict, label in zip(judged, labels, strict=True) if label is not None]
    rest = [verdict for verdict, label in zip(judged, labels, strict=True) if label is None]
    if not pairs:
        raise DataError("prediction-powered inference needs labels of these answers, and there are none; label some.")
    if weight is None:
        weight = power_tuned(judged, labels)
    own = sum(label for _, label in pairs) / len(pairs)
    moved = weight * (sum(rest) / len(rest) - sum(verdict for verdict, _ in pairs) / len(pairs)) if rest else 0.0
    worth = len(pairs) * _gain(judged, pairs, len(rest), weight)
    value = _clipped(own + moved)
    return Corrected(value, *_wilson(value, worth), own + moved, len(pairs))


def power_tuned(judged: Sequence[bool], labels: Sequence[bool | None]) -> float:
    """PPI++'s weight: the labels' regression on the verdicts, times the share of answers without a label; kept within [0, 1].

    The optimum for a mean, Cov(label, verdict) / ((1 + labelled / rest) Var(verdict)), with both taken among the labelled, so that a judge that is
    always right gives the plain rate. 0 where the judge says the same of all labelled answers.
    """
    pairs = [(verdict, label) for verdict, label in zip(judged, labels, strict=True) if label is not None]
    called = sum(verdict for verdict, _ in pairs)
    if not 0 < called < len(pairs):
        return 0.0
    both, hits = sum(verdict and label for verdict, label in pairs), sum(label for _, label in pairs)
    slope = (both * len(pairs) - called * hits) / (called * (len(pairs) - called))
    return _clipped(slope * (1 - len(pairs) / len(judged)))


def _gain(judged: Sequence[bool], pairs: Sequence[tuple[bool, bool]], rest: int, weight: float) -> float:
    """Variance of the labels' mean over that of the estimate, pseudo-labels included."""
    if not rest:
        return 1.0
    counts, total = Counter(pairs), len(pairs) + 4 * HALF
    shares = {(verdict, label): (counts[verdict, label] + HALF) / total for verdict in (True, False) for label in (True, False)}

    def variance(weight: float) -> float:
        values = {(verdict, label): label - weight * verdict for verdict, label in shares}
        mean = sum(share * values[cell] for cell, share in shares.items())
        return sum(share * (values[cell] - mean) ** 2 for cell, share in shares.items())

    called = (sum(judged) + 2 * HALF) / (len(judged) + 4 * HALF)
    return variance(0) / (variance(weight) + len(pairs) / rest * weight**2 * called * (1 - called))


def _wilson(share: float, n: float) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(share * n, n, 1 - LEVEL, method="wilson")
    return min(share, _clipped(float(low))), max(share, _clipped(float(high)))


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))


def _z() -> float:
    from scipy import stats

    return float(stats.norm.ppf((1 + LEVEL) / 2))
