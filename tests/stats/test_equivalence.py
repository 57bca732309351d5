"""Preserved or not: published examples, the library's own tests, and what a margin does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as scipy_stats
from statsmodels.stats.weightstats import ttost_paired

from ftsafety.errors import ConfigError
from ftsafety.stats import Equivalence, crossed, paired_rate, preserved_crossed, preserved_mean, preserved_rate
from ftsafety.stats.equivalence import _tango_interval, tango


def pairs(both: int, rise: int, fall: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * both + [False] * rise + [True] * fall + [False] * neither
    after = [True] * (both + rise) + [False] * (fall + neither)
    return before, after


def test_tango_s_own_example() -> None:
    """Soft contact lenses (Tango 1998, section 5): 43 of 44 alike, one against; margin 0.1 gives Z = 1.709, p = 0.044."""
    assert tango(0, 1, 44, -0.1) == pytest.approx(1.709, abs=5e-4)
    found = preserved_rate(*pairs(43, 0, 1, 0), margin=0.1)
    assert found.p_value == pytest.approx(0.0438, abs=5e-5) and found.preserved
    assert (found.difference.low, found.difference.high) == pytest.approx((-0.096, 0.037), abs=5e-4)
    assert not preserved_rate(*pairs(43, 0, 1, 0), margin=0.09).preserved


def test_tango_s_interval_as_published() -> None:
    """Airway hyper-responsiveness, 1 and 7 of 21 pairs changed: Fagerland et al. 2014 give -0.517 to -0.026."""
    assert _tango_interval(1, 7, 21, 0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("rise", "fall", "n"), [(3, 5, 40), (0, 2, 30), (10, 1, 66), (7, 7, 20)])
@pytest.mark.parametrize("null", [-0.3, -0.05, 0.02, 0.4])
def test_tango_s_score_is_that_of_the_restricted_likelihood(rise: int, fall: int, n: int, null: float) -> None:
    """The variance is taken where the likelihood is largest among the tables whose difference is ``null``."""

    def unlikely(fallen: float) -> float:
        cells = (rise, fallen + null), (fall, fallen), (n - rise - fall, 1 - 2 * fallen - null)
        return -sum(count * math.log(max(share, 1e-12)) for count, share in cells)

    best = optimize.minimize_scalar(unlikely, bounds=(max(0.0, -null), (1 - null) / 2), method="bounded", options={"xatol": 1e-10}).x
    expected = (rise - fall - n * null) / math.sqrt(n * (2 * best + null - null**2))
    assert tango(rise, fall, n, null) == pytest.approx(expected, rel=1e-4)


def test_without_a_margin_it_is_mc_nemar_s() -> None:
    assert tango(12, 4, 100, 0.0) == pytest.approx((12 - 4) / math.sqrt(12 + 4))


@pytest.mark.parametrize("table", [(43, 0, 1, 0), (20, 3, 2, 41), (0, 66, 0, 0), (0, 0, 0, 50), (5, 0, 40, 5)])
def test_the_interval_is_the_test(table: tuple[int, int, int, int]) -> None:
    before, after = pairs(*table)
    found = preserved_rate(before, after, margin=0.5)
    low, high = found.difference.low, found.difference.high
    assert -1 <= low <= found.difference.value <= high <= 1
    for margin in (0.01, 0.02, 0.05, 0.1, 0.3, 0.6, 0.9):
        assert preserved_rate(before, after, margin).preserved == (-margin < low and high < margin), margin
    mirror = preserved_rate(after, before, margin=0.5)
    assert (mirror.difference.low, mirror.difference.high, mirror.p_value) == pytest.approx((-high, -low, found.p_value), abs=1e-9)


def test_no_difference_found_is_not_preserved() -> None:
    """Ten questions, none changed: no test finds a difference, and a fall of 15 points can't be ruled out."""
    before, after = pairs(9, 0, 0, 1)
    assert paired_rate(before, after).p_value == 1.0 and not preserved_rate(before, after, margin=0.15).preserved
    before, after = pairs(90, 0, 0, 10)
    assert preserved_rate(before, after, margin=0.05).preserved
    assert preserved_rate([], [], margin=0.1).p_value == 1.0


def test_means_as_the_library_has_them() -> None:
    draw = np.random.default_rng(1)
    before = draw.normal(2, 0.5, 40)
    after = before + draw.normal(0.02, 0.1, 40)
    for margin in (0.03, 0.06, 0.2):
        found = preserved_mean(list(before), list(after), margin)
        assert found.p_value == pytest.approx(ttost_paired(after, before, -margin, margin)[0])
        assert found.preserved == (-margin < found.difference.low and found.difference.high < margin)
    low, high = scipy_stats.t.interval(0.9, 39, loc=(after - before).mean(), scale=scipy_stats.sem(after - before))
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))
    assert preserved_mean([1.0, 2.0], [1.0, 2.0], 0.1).preserved and not preserved_mean([1.0, 2.0], [1.25, 2.25], 0.1).preserved
    assert not preserved_mean([1.0], [1.0], 0.1).preserved, "one value says nothing"


def test_several_runs_have_to_be_preserved_as_runs() -> None:
    def of(runs: int, shift: float) -> Equivalence:
        draw = np.random.default_rng(2)
        values = {f"run {run}": {f"q{at}": float(draw.normal(shift * (run - 1), 0.1)) for at in range(330)} for run in range(runs)}
        return preserved_crossed(crossed(values, bounds=None), margin=0.05)

    assert of(3, 0.0).preserved and not of(3, 0.05).preserved, "runs that differ by the margin do not preserve"
    kept = of(3, 0.0)
    assert -0.05 < kept.difference.low < kept.difference.high < 0.05
    far = {"a": {f"q{at}": 1.0 for at in range(50)}}
    assert preserved_crossed(crossed(far), margin=0.1).p_value == 1.0


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0])
def test_a_margin_that_can_t_be(margin: float) -> None:
    with pytest.raises(ConfigError, match="largest difference that would not matter"):
        preserved_rate([True], [True], margin)


def test_a_change_as_large_as_the_margin_is_called_preserved_in_one_case_of_twenty() -> None:
    draw, times = np.random.default_rng(3), 1500
    called = 0
    for _ in range(times):
        turned = draw.random(132)
        rise, fall = int((turned < 0.15).sum()), int(((turned >= 0.15) & (turned < 0.2)).sum())
        p = scipy_stats.norm.sf(-tango(rise, fall, 132, 0.1))
        called += p < 0.05
    assert called / times <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / times)
