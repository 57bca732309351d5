"""Dose and response: a textbook's insecticide, Fieller's interval by brute force, and what no curve can tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ftsafety.errors import ConfigError, DataError
from ftsafety.stats import DoseResponse, dose_response

ROTENONE = {10.2: (44, 50), 7.7: (42, 49), 5.1: (24, 46), 3.8: (16, 48), 2.6: (6, 50)}
"""Dose to insects affected and exposed (Finney 1971, Probit Analysis, chapter 3)."""


def expanded(counts: dict[float, tuple[int, int]]) -> tuple[list[float], list[bool]]:
    answers = [(dose, at < hits) for dose, (hits, n) in counts.items() for at in range(n)]
    return [dose for dose, _ in answers], [hit for _, hit in answers]


@pytest.fixture(scope="module")
def rotenone() -> DoseResponse:
    return dose_response(*expanded(ROTENONE))


def test_a_textbook_s_median_dose(rotenone: DoseResponse) -> None:
    """R's drc on the same data: slope 3.1036, ED50 4.8289 with standard error 0.2496, ED10 2.3790, ED20 3.0893."""
    assert rotenone.slope == pytest.approx(3.1036, abs=5e-4)
    for rate, dose in ((0.5, 4.8289), (0.1, 2.3790), (0.2, 3.0893)):
        assert rotenone.budget_for(rate).value == pytest.approx(dose, abs=2e-4)
    x = math.log(rotenone.budget_for(0.5).value)
    (a, b), (_, c) = rotenone.spread
    assert rotenone.budget_for(0.5).value * math.sqrt(a + 2 * b * x + c * x * x) / rotenone.slope == pytest.approx(0.2496, abs=1e-4)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_fieller_s_bounds_are_where_the_rate_can_just_be_told_apart(rotenone: DoseResponse, rate: float) -> None:
    found = rotenone.budget_for(rate)
    grid = np.exp(np.linspace(math.log(0.5), math.log(50), 20_001))
    inside = [dose for dose in grid if rotenone.rate_at(dose)[1] <= rate <= rotenone.rate_at(dose)[2]]
    assert (min(inside), max(inside)) == pytest.approx((found.low, found.high), rel=1e-3)
    assert found.low < found.value < found.high
    assert rotenone.rate_at(found.value)[0] == pytest.approx(rate)


def test_a_budget_beyond_those_tried_says_so(rotenone: DoseResponse) -> None:
    assert rotenone.budget_for(0.5).tried and not rotenone.budget_for(0.1).tried and not rotenone.budget_for(0.99).tried


def asked(draw: np.random.Generator, questions: int, runs: int, by_question: float, by_run: float) -> DoseResponse:
    """The same questions at budgets 5 to 80, several runs a budget; the rate is a half at 20 for the middling question."""
    hard = draw.normal(0, by_question, questions)
    rows = []
    for budget in (5, 10, 20, 40, 80):
        for run in range(runs):
            lean = 1.5 * math.log(budget / 20) + draw.normal(0, by_run) + hard
            rows += [(budget, bool(hit), f"q{at}", f"{budget}/{run}") for at, hit in enumerate(draw.random(questions) < 1 / (1 + np.exp(-lean)))]
    return dose_response(*map(list, zip(*rows, strict=True)))


def test_the_budget_is_covered_though_questions_and_runs_vary() -> None:
    draw, covered, naive, times = np.random.default_rng(1), 0, 0, 80
    for _ in range(times):
        found = asked(draw, 66, 2, 1.0, 0.4)
        budget = found.budget_for(0.5)
        covered += budget.low <= 20 <= budget.high
        naive += found.covers != ("questions", "runs")
    assert naive == 0 and covered / times >= 0.95 - 2.6 * math.sqrt(0.95 * 0.05 / times)


def test_questions_and_runs_widen_the_interval() -> None:
    rows = [
        (budget, (at * 7 + run) % 10 < level, f"q{at}", f"{budget}/{run}")
        for budget, level in ((5, 2), (20, 5), (80, 8))
        for run in range(2)
        for at in range(40)
    ]
    budgets, hits, questions, runs = map(list, zip(*rows, strict=True))
    alone = dose_response(budgets, hits)
    assert alone.covers == ("answers",)
    assert dose_response(budgets, hits, questions).covers == ("questions",)
    both = dose_response(budgets, hits, questions, runs)
    assert both.reach[0][0] > dose_response(budgets, hits, None, runs).reach[0][0] and both.slope == alone.slope


def test_a_budget_that_does_not_matter_has_no_bounds() -> None:
    found = dose_response(*expanded({5: (10, 20), 20: (11, 20), 80: (9, 20)})).budget_for(0.9)
    assert (found.low, found.high) == (0.0, math.inf)


def test_what_no_curve_can_tell() -> None:
    with pytest.raises(DataError, match="all answers up to budget 10 are alike, and all from 20 on"):
        dose_response(*expanded({5: (0, 20), 10: (0, 20), 20: (20, 20)}))
    with pytest.raises(DataError, match=r"no answer at any budget is a hit.*larger"):
        dose_response(*expanded({5: (0, 20), 10: (0, 20)}))
    with pytest.raises(DataError, match="each above 0"):
        dose_response(*expanded({0: (0, 20), 10: (5, 20)}))
    with pytest.raises(DataError, match="two or more budgets"):
        dose_response(*expanded({10: (5, 20)}))
    with pytest.raises(ConfigError, match="never reached"):
        dose_response(*expanded(ROTENONE)).budget_for(1.0)
