"""Corrected rates by hand, at their ends, against the papers' own intervals, and how often they cover the truth."""

from __future__ import annotations

import math
import random

import pytest

from ftsafety.errors import DataError
from ftsafety.stats import rate
from ftsafety.stats.calibrated import Confusion, Corrected, power_tuned, ppi, rogan_gladen

Z = 1.959963984540054
GOOD = Confusion(found=18, missed=2, false_alarms=8, cleared=72)
"""Sensitivity and specificity 0.9."""


def hits(count: int, n: int) -> list[bool]:
    return [True] * count + [False] * (n - count)


def interval(found: Corrected) -> tuple[float, float, float]:
    return found.value, found.low, found.high


# --- Rogan and Gladen -----------------------------------------------------------------------------------------------------


def test_rogan_gladen_by_hand() -> None:
    """(0.4 + 0.9 - 1) / (0.9 + 0.9 - 1); the interval from 19/22 and 73/82, with shift 0.01045 and standard error 0.07932."""
    found = rogan_gladen(hits(40, 100), GOOD)
    assert (found.value, found.unclipped, found.labels) == (pytest.approx(0.375), pytest.approx(0.375), 100)
    assert (found.low, found.high) == pytest.approx((0.2449, 0.5558), abs=1e-4)


@pytest.mark.parametrize("count", [0, 7, 20])
def test_a_perfect_judge_s_rate_stays(count: int) -> None:
    found = rogan_gladen(hits(count, 20), Confusion(30, 0, 0, 30))
    assert found.value == pytest.approx(count / 20) and 0 <= found.low <= found.value <= found.high <= 1
    # labels without number leave Agresti and Coull's interval, which is as wide as Wilson's or a little wider
    sure, wilson = rogan_gladen(hits(count, 20), Confusion(10**7, 0, 0, 10**7)), rate(hits(count, 20))
    assert (sure.low, sure.high) == pytest.approx((wilson.low, wilson.high), abs=0.03)


def test_what_is_clipped_says_so() -> None:
    none, all_ = rogan_gladen(hits(0, 50), GOOD), rogan_gladen(hits(50, 50), GOOD)
    assert (none.unclipped, none.value, none.low) == (pytest.approx(-0.125), 0.0, 0.0) and none.high > 0
    assert (all_.unclipped, all_.value, all_.high) == (pytest.approx(1.125), 1.0, 1.0) and all_.low < 1


def test_fewer_labels_widen_it() -> None:
    few, many = (rogan_gladen(hits(40, 100), Confusion(*(times * n for n in (9, 1, 4, 36)))) for times in (1, 20))
    assert few.value == many.value and few.low < many.low < many.high < few.high


def test_labels_that_tell_nearly_nothing_bound_nothing() -> None:
    """One label says that others are cleared; with its pseudo-counts the judge is no better than chance."""
    found = rogan_gladen(hits(1, 10), Confusion(150, 850, 0, 1))
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("judged", "confusion", "says"),
    [
        ([], GOOD, "needs verdicts"),
        ([True], Confusion(0, 0, 1, 9), "0 hits and 10 others"),
        ([True], Confusion(9, 1, 0, 0), "10 hits and 0 others"),
        ([True], Confusion(5, 5, 5, 5), "sensitivity 0.50 and specificity 0.50"),
        ([True], Confusion(1, 9, 9, 1), "the judge tells nothing"),
    ],
)
def test_no_correction_without_grounds(judged: list[bool], confusion: Confusion, says: str) -> None:
    with pytest.raises(DataError, match=says):
        rogan_gladen(judged, confusion)


def test_confusion() -> None:
    found = Confusion.of([True, True, False, False, False], [True, False, True, False, False])
    assert found == Confusion(1, 1, 1, 2)
    assert (found.sensitivity, found.specificity) == (rate(hits(1, 2)), rate(hits(2, 3)))


# --- prediction-powered inference -----------------------------------------------------------------------------------------
JUDGED = [True, True, True, False, False, False, True, False]
LABELS = [True, False, True, False, None, None, None, None]


def test_ppi_by_hand() -> None:
    """Labels say 1/2, the judge 3/4 of the labelled and 1/4 of the rest; the regression of labels on verdicts is 2/3, half the answers are unlabelled."""
    assert ppi(JUDGED, LABELS, weight=1).unclipped == pytest.approx(1 / 2 + 1 / 4 - 3 / 4)
    assert power_tuned(JUDGED, LABELS) == pytest.approx(1 / 3)
    assert ppi(JUDGED, LABELS).unclipped == pytest.approx(1 / 2 + (1 / 4 - 3 / 4) / 3)


def test_all_labelled_is_the_labels_own_rate() -> None:
    labels = [True, False, True, False, False, True, True, True]
    plain = rate(labels)
    assert interval(ppi(JUDGED, labels)) == pytest.approx((plain.value, plain.low, plain.high)) and plain.value == 5 / 8


def test_weight_0_is_the_labels_own_rate() -> None:
    plain = rate(hits(2, 4))
    assert interval(ppi(JUDGED, LABELS, weight=0)) == pytest.approx((plain.value, plain.low, plain.high))


def test_a_judge_that_is_right_gives_its_rate() -> None:
    found = ppi(JUDGED, [*JUDGED[:4], None, None, None, None])
    assert found.value == pytest.approx(sum(JUDGED) / 8) and found.labels == 4
    judged = [True, True, False, False] * 5
    better, alone = ppi(judged, [*judged[:8], *[None] * 12]), rate(judged[:8])
    assert better.value == alone.value == 0.5 and alone.low < better.low < better.high < alone.high


def test_a_judge_that_is_always_wrong_or_says_one_thing_is_not_used() -> None:
    assert power_tuned(JUDGED, [False, False, False, True, None, None, None, None]) == 0
    assert power_tuned(hits(0, 8), LABELS) == 0 and power_tuned(hits(8, 8), LABELS) == 0


def test_within_bounds() -> None:
    found = ppi([True] * 4 + [False] * 20, [False, True, False, True] + [None] * 20, weight=1)
    assert found.unclipped == pytest.approx(-0.5) and (found.value, found.low) == (0, 0) and 0 < found.high <= 1


def test_no_label() -> None:
    with pytest.raises(DataError, match="there are none; label some"):
        ppi([True, False], [None, None])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ppi([True, False], [None])


def drawn(generator: random.Random, share: float, right: float, answers: int, labelled: int) -> tuple[list[bool], list[bool | None]]:
    """Verdicts and labels of a judge that is right on ``right`` of the hits and of the others."""
    truth = [generator.random() < share for _ in range(answers)]
    judged = [is_hit == (generator.random() < right) for is_hit in truth]
    seen = set(generator.sample(range(answers), labelled))
    return judged, [is_hit if at in seen else None for at, is_hit in enumerate(truth)]


@pytest.mark.parametrize("weight", [1.0, None])
def test_for_many_labels_it_is_the_paper_s_normal_interval(weight: float | None) -> None:
    judged, labels = drawn(random.Random(5), 0.4, 0.85, 4000, 1000)
    pairs = [(float(verdict), float(label)) for verdict, label in zip(judged, labels, strict=True) if label is not None]
    rest = [float(verdict) for verdict, label in zip(judged, labels, strict=True) if label is None]
    used = power_tuned(judged, labels) if weight is None else weight

    def variance(values: list[float]) -> float:
        center = math.fsum(values) / len(values)
        return math.fsum((value - center) ** 2 for value in values) / len(values)

    error = math.sqrt(used**2 * variance(rest) / len(rest) + variance([label - used * verdict for verdict, label in pairs]) / len(pairs))
    found = ppi(judged, labels, weight)
    assert (found.low, found.high) == pytest.approx((found.value - Z * error, found.value + Z * error), abs=1e-3)


@pytest.mark.parametrize(("share", "answers", "labelled"), [(0.1, 66, 12), (0.5, 132, 30), (0.9, 66, 20)])
def test_coverage(share: float, answers: int, labelled: int) -> None:
    """Of runs by a judge that is right on 85 %, its own interval misses the truth; the corrected ones hold it."""
    generator, times = random.Random(11), 400
    covered = {"judge": 0, "ppi": 0, "rogan_gladen": 0}
    for _ in range(times):
        judged, labels = drawn(generator, share, 0.85, answers, labelled)
        found = {"judge": rate(judged), "ppi": ppi(judged, labels)}
        # Rogan and Gladen's labels may come from elsewhere, such as a set with both kinds
        known = [at < 40 for at in range(80)]
        found["rogan_gladen"] = rogan_gladen(judged, Confusion.of([hit == (generator.random() < 0.85) for hit in known], known))  # type: ignore[assignment]
        for name, one in found.items():
            covered[name] += one.low <= share <= one.high
    assert covered["ppi"] >= 0.91 * times and covered["rogan_gladen"] >= 0.93 * times
    assert share == 0.5 or covered["judge"] < 0.6 * times
