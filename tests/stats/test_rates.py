"""Intervals and tests against published numbers, against other formulas, and at their ends."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
from scipy import stats as scipy_stats

from ftsafety.stats import Estimate, mean, paired_mean, paired_rate, questions_needed, rate

Z = 1.959963984540054


def hits(count: int, n: int) -> list[bool]:
    return [True] * count + [False] * (n - count)


def table(both: int, only_before: int, only_after: int, neither: int) -> Estimate:
    """The paired estimate of a 2 x 2 table."""
    before = [True] * (both + only_before) + [False] * (only_after + neither)
    after = [True] * both + [False] * only_before + [True] * only_after + [False] * neither
    return paired_rate(before, after)


def wilson_by_hand(count: int, n: int) -> tuple[float, float]:
    """The roots of (p - share)^2 = z^2 p (1 - p) / n."""
    a, b, c = n + Z**2, -(2 * count + Z**2), count**2 / n
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        (10, 20, 0.2993, 0.7007),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17, 857, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(count: int, n: int, low: float, high: float) -> None:
    found = rate(hits(count, n))
    assert (found.value, found.n) == (count / n, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert (found.low, found.high) == pytest.approx(wilson_by_hand(count, n), abs=1e-9)


def test_nothing_observed() -> None:
    assert rate([]) == Estimate(0.0, 0.0, 1.0, 0)
    assert paired_rate([], []) == Estimate(0.0, -1.0, 1.0, 0, 1.0)
    assert mean([]) == Estimate(0.0, 0.0, 0.0, 0)


def test_newcombe_s_paired_interval_as_published() -> None:
    """Airway hyper-responsiveness before and after transplantation, 1 of 21 both, 1 and 7 once: Fagerland et al. 2014 give -0.507 to -0.026."""
    found = table(1, 7, 1, 12)
    assert (found.value, found.low, found.high) == pytest.approx((-6 / 21, -0.507, -0.026), abs=5e-4)


def newcombe_by_hand(a: int, b: int, c: int, d: int) -> tuple[float, float]:
    """Newcombe 1998 (17, 2635), method 10, for p1 - p2 with p1 = (a + b) / n and p2 = (a + c) / n, from the paper's own letters."""
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = wilson_by_hand(a + b, n), wilson_by_hand(a + c, n)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    product_ = a * d - b * c
    corrected = product_ - n / 2 if product_ > n / 2 else 0 if product_ >= 0 else product_
    phi = corrected / math.sqrt(margins) if margins else 0
    delta = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    epsilon = math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return p1 - p2 - delta, p1 - p2 + epsilon


TABLES = [cells for cells in product((0, 1, 4, 9, 30), repeat=4) if sum(cells)]


def test_newcombe_s_formula() -> None:
    for a, b, c, d in TABLES:
        found = table(a, c, b, d)
        assert (found.low, found.high) == pytest.approx(newcombe_by_hand(a, b, c, d), abs=1e-9), (a, b, c, d)


def test_paired_interval_is_symmetric_and_within_bounds() -> None:
    for both, before, after, neither in TABLES:
        found = table(both, before, after, neither)
        assert -1 - 1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
        # before and after exchanged; and refusals counted in place of answers
        for mirror in (table(both, after, before, neither), table(neither, after, before, both)):
            assert (mirror.value, mirror.low, mirror.high) == pytest.approx((-found.value, -found.high, -found.low), abs=1e-9)
            assert mirror.p_value == found.p_value


def test_paired_interval_narrows_with_agreement_and_with_questions() -> None:
    def width(found: Estimate) -> float:
        return found.high - found.low

    assert width(table(25, 5, 5, 25)) < width(table(15, 15, 15, 15))
    assert width(table(150, 150, 150, 150)) < width(table(15, 15, 15, 15))


def test_everything_turned() -> None:
    """66 of 66 declined before, all complied after: nothing is left to chance, yet the interval is not a point."""
    found = table(0, 0, 66, 0)
    assert found.value == 1 and 0.9 < found.low < 1 and found.high == pytest.approx(1) and found.p_value == pytest.approx(2**-65)


@pytest.mark.parametrize("before", range(8))
@pytest.mark.parametrize("after", [0, 1, 5, 12])
def test_exact_mc_nemar(before: int, after: int) -> None:
    expected = scipy_stats.binomtest(before, before + after).pvalue if before + after else 1.0
    assert table(3, before, after, 4).p_value == pytest.approx(expected)


def test_mean() -> None:
    values = [1.0, 2.0, 4.0, 7.0]
    low, high = scipy_stats.t.interval(0.95, 3, loc=3.5, scale=scipy_stats.sem(values))
    assert mean(values) == Estimate(3.5, pytest.approx(low), pytest.approx(high), 4)
    assert mean([2.5]) == Estimate(2.5, 2.5, 2.5, 1)
    assert mean([2.5] * 9) == Estimate(2.5, 2.5, 2.5, 9)


def test_paired_mean() -> None:
    generator = random.Random(0)
    before = [generator.gauss(2, 1) for _ in range(20)]
    after = [value + generator.gauss(0.3, 0.5) for value in before]
    found, expected = paired_mean(before, after), scipy_stats.ttest_rel(after, before)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert paired_mean(before, before).p_value == 1.0
    assert paired_mean([1.0, 2.0], [2.0, 3.0]).p_value == 0.0


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError):
        paired_rate([True], [True, False])
    with pytest.raises(ValueError):
        paired_mean([1.0], [1.0, 2.0])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.02, 0.045, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("limit", [0.03, 0.05, 0.3, 0.75])
def test_questions_needed_brackets(share: float, limit: float) -> None:
    needed = questions_needed(share, limit)
    assert needed is not None

    def settled(n: float) -> bool:
        low, high = wilson_by_hand(share * n, n)  # type: ignore[arg-type]
        return high <= limit or low > limit

    assert settled(needed) and all(settled(needed * times) for times in (1.5, 4, 40))
    assert needed == 1 or not settled(needed - 1)


def test_no_number_of_questions_is_enough() -> None:
    assert questions_needed(0.05, 0.05) is None
    assert questions_needed(0.0501, 0.05, most=1000) is None
