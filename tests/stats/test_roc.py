"""ROC areas by counting pairs, intervals at the ends, thresholds by hand."""

from __future__ import annotations

import math
from itertools import product
from random import Random

import pytest

from ftsafety.errors import DataError
from ftsafety.stats import roc_area, threshold_at


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    positives, negatives = [3.0, 2.0, 2.0, 5.0], [1.0, 2.0, 4.0]
    pairs = [(p > n) + 0.5 * (p == n) for p, n in product(positives, negatives)]
    found = roc_area(positives, negatives)
    assert found.value == pytest.approx(sum(pairs) / len(pairs)) and found.n == 7
    assert found.low < found.value < found.high


def test_groups_apart_are_one_and_the_interval_has_a_width() -> None:
    found = roc_area([2.0] * 20, [1.0] * 40)
    assert (found.value, found.high) == (1.0, 1.0) and 0.85 < found.low < 1.0
    swapped = roc_area([1.0] * 40, [2.0] * 20)
    assert (swapped.value, swapped.low) == (0.0, 0.0) and swapped.high == pytest.approx(1 - found.low)
    assert roc_area([2.0] * 200, [1.0] * 400).low > found.low


def test_the_bounds_solve_the_method_s_equation() -> None:
    found = roc_area([1.0, 2.0, 4.0, 6.0, 7.0], [0.0, 1.5, 3.0, 5.0])
    m, n = 5, 4
    for bound in (found.low, found.high):
        more = (m + n) / 2 - 1
        variance = bound * (1 - bound) * (1 + more * (1 - bound) / (2 - bound) + more * bound / (1 + bound)) / (m * n)
        assert abs(found.value - bound) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    draw, hits = Random(0), 0
    for _ in range(300):
        # P(a + 1 > b) of normal scores with standard deviation 1: the normal distribution at 1 / sqrt(2)
        found = roc_area([draw.gauss(1, 1) for _ in range(20)], [draw.gauss(0, 1) for _ in range(40)])
        hits += found.low <= 0.7602499 <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_thresholds_by_hand() -> None:
    scores = [float(at) for at in range(100)]
    assert sum(score >= threshold_at(scores, 0.05) for score in scores) == 5
    assert sum(score >= threshold_at(scores, 0.0) for score in scores) == 0
    assert sum(score >= threshold_at(scores, 1.0) for score in scores) == 100
    # ties go to the safe side
    assert sum(score >= threshold_at([0.0] * 99 + [1.0], 0.05) for score in [0.0] * 99 + [1.0]) == 1


def test_an_empty_group_is_told() -> None:
    with pytest.raises(DataError, match="scores of both groups"):
        roc_area([], [1.0])
    with pytest.raises(DataError, match="needs scores"):
        threshold_at([], 0.05)
