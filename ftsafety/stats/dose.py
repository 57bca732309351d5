"""How much of an attack is enough: a dose-response curve over budgets, and the budget that reaches a given rate.

Logistic regression of each answer on the logarithm of the budget (rows, epochs, steps), by statsmodels. The interval of a budget is
Fieller's (Finney 1971, Probit Analysis, section 4.6): the budgets whose fitted rate can't be told from the wanted one. The same questions are asked at each
budget and a run answers many, so the fit's covariance is made by question and by run, each with its own t-distribution, as in ``crossed``.
The curve runs from 0 to 1: a budget of nothing is left out, and a rate below the untuned model's own has no budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftsafety.errors import ConfigError, DataError
from ftsafety.stats.rates import LEVEL


@dataclass(frozen=True)
class Budget:
    """The budget that reaches a rate, with its interval: 0 or infinity where the data do not bound it."""

    value: float
    low: float
    high: float
    tried: bool
    """Whether it lies between the smallest and the largest budget that were tried."""


@dataclass(frozen=True)
class DoseResponse:
    """logit(rate) = ``intercept`` + ``slope`` log(budget).

    ``spread`` is the covariance of both numbers, and ``reach`` the sum over the sources of their covariances times t squared.
    """

    intercept: float
    slope: float
    spread: tuple[tuple[float, float], tuple[float, float]]
    reach: tuple[tuple[float, float], tuple[float, float]]
    covers: tuple[str, ...]
    tried: tuple[float, float]

    def rate_at(self, budget: float) -> tuple[float, float, float]:
        """The fitted rate at a budget, and its interval."""
        x = math.log(budget)
        middle, half = self.intercept + self.slope * x, math.sqrt(_form(self.reach, x))
        return _rate(middle), _rate(middle - half), _rate(middle + half)

    def budget_for(self, rate: float) -> Budget:
        """The budget that reaches a rate.

        Raises:
            ConfigError: a rate that is not between 0 and 1.
        """
        if not 0 < rate < 1:
            raise ConfigError(f"a rate of {rate} is never reached or always; give one between 0 and 1, such as 0.5.")
        away = self.intercept - math.log(rate / (1 - rate))
        value = _budget(-away / self.slope) if self.slope else math.inf
        # (away + slope x)^2 <= reach at x, a quadratic in x
        a = self.slope**2 - self.reach[1][1]
        b = 2 * (away * self.slope - self.reach[0][1])
        c = away**2 - self.reach[0][0]
        low, high = 0.0, math.inf
        if a > 0:
            root = math.sqrt(max(b * b - 4 * a * c, 0.0))
            low, high = _budget((-b - root) / (2 * a)), _budget((-b + root) / (2 * a))
        return Budget(value, low, high, self.tried[0] <= value <= self.tried[1])


def dose_response(budgets: Sequence[float], hits: Sequence[bool], questions: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> DoseResponse:
    """Fit the curve to one entry per answer.

    Args:
        budgets: each above 0; at least two different ones.
        questions: the question behind each answer; None takes answers as independent of each other.
        runs: the weight digest behind each answer; with three or more the interval covers the draw of the runs, too.

    Raises:
        DataError: budgets that do not grow from nothing, or answers that a threshold separates, which no curve can be fitted to.
    """
    import numpy as np
    import statsmodels.api as sm
    from scipy import stats

    if min(budgets, default=0) <= 0 or len(set(budgets)) < 2:
        raise DataError("a dose-response curve needs answers at two or more budgets, each above 0; leave the untuned model out.")
    _check_overlap(budgets, hits)
    design = np.column_stack([np.ones(len(budgets)), np.log(np.asarray(budgets, dtype=float))])
    model = sm.GLM(np.asarray(hits, dtype=float), design, family=sm.families.Binomial())
    plain = model.fit()
    sources: dict[str, tuple[Any, float]] = {}
    for name, labels, spent in (("questions", questions, 1), ("runs", runs, 2)):
        groups = len(set(labels)) if labels else 0
        if labels and groups > spent:
            codes = np.unique(np.asarray(labels), return_inverse=True)[1]
            covariance = model.fit(cov_type="cluster", cov_kwds={"groups": codes}).cov_params()
            sources[name] = covariance, float(stats.t.ppf((1 + LEVEL) / 2, groups - spent))
    if not sources:
        sources["answers"] = plain.cov_params(), float(stats.norm.ppf((1 + LEVEL) / 2))
    spread = sum(covariance for covariance, _ in sources.values())
    reach = sum(covariance * quantile**2 for covariance, quantile in sources.values())
    return DoseResponse(
        float(plain.params[0]), float(plain.params[1]), _pairs(spread), _pairs(reach), tuple(sources), (float(min(budgets)), float(max(budgets)))
    )  # fmt: skip


def _check_overlap(budgets: Sequence[float], hits: Sequence[bool]) -> None:
    yes = [budget for budget, hit in zip(budgets, hits, strict=True) if hit]
    no = [budget for budget, hit in zip(budgets, hits, strict=True) if not hit]
    if not yes or not no:
        told, other = ("every", "smaller") if yes else ("no", "larger")
        raise DataError(f"{told} answer at any budget is a hit, so nothing is known about how budgets matter; try {other} ones.")
    if max(no) <= min(yes) or max(yes) <= min(no):
        low, high = (max(no), min(yes)) if max(no) <= min(yes) else (max(yes), min(no))
        raise DataError(f"all answers up to budget {low:g} are alike, and all from {high:g} on; try budgets between {min(budgets):g} and {max(budgets):g}.")


def _pairs(matrix: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    return (float(matrix[0][0]), float(matrix[0][1])), (float(matrix[1][0]), float(matrix[1][1]))


def _form(matrix: tuple[tuple[float, float], tuple[float, float]], x: float) -> float:
    return max(0.0, matrix[0][0] + 2 * matrix[0][1] * x + matrix[1][1] * x * x)


def _rate(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def _budget(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
