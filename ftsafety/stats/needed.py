"""How much is needed to know something to a few points: questions, runs and aligned models.

A value varies by question, by aligned model, by run within a model, by question within a model, and by what is left. ``components`` estimates
how much (analysis of variance, Searle, Casella and McCulloch 1992, chapter 4); ``designs`` says which numbers of each make an interval narrow enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftsafety.errors import ConfigError, DataError
from ftsafety.stats.crossed import Runs
from ftsafety.stats.rates import LEVEL

MOST_MODELS, MOST_RUNS = 30, 30


@dataclass(frozen=True)
class Components:
    """Variances of one value by its sources; None where the data can't tell (one model, one run a model). Estimates below 0 are 0."""

    questions: float
    models: float | None
    runs: float | None
    questions_by_models: float | None
    rest: float

    def half_width(self, questions: float, models: int, runs: int) -> float:
        """Half of the 95 % interval of a mean over so many questions, aligned models and runs of each.

        Sources are joined as in ``crossed``. An unknown or single source is left out, so the interval does not speak for it.
        """
        from scipy import stats

        def quantile(groups: float) -> float:
            return float(stats.t.ppf((1 + LEVEL) / 2, groups - 1)) if math.isfinite(groups) else float(stats.norm.ppf((1 + LEVEL) / 2))

        total = models * runs
        by_question = self.questions / questions + (self.questions_by_models or 0.0) / (questions * models) + self.rest / (questions * total)
        parts = [quantile(questions) * math.sqrt(by_question)]
        if self.models is not None and models > 1:
            parts.append(quantile(models) * math.sqrt(self.models / models + (self.runs or 0.0) / total))
        elif self.runs is not None and total > 1:
            parts.append(quantile(total) * math.sqrt(self.runs / total))
        return math.hypot(*parts)


@dataclass(frozen=True)
class Design:
    """So many questions, aligned models and runs of each give an interval of ``half_width``."""

    questions: int
    models: int
    runs: int
    half_width: float


def components(values: Mapping[str, Runs]) -> Components:
    """Variance components from aligned model to run (a distinct weight digest) to question to value.

    Only questions that every run has count, and of each model as many runs as the model with the fewest has.

    Raises:
        DataError: fewer than two questions, or no run.
    """
    import numpy as np

    fewest = min(map(len, values.values()), default=0)
    runs = [list(of_model.values())[:fewest] for of_model in values.values()]
    if not fewest:
        raise DataError("there is an aligned model without a run; each needs at least one.")
    shared = sorted(set.intersection(*[set(run) for of_model in runs for run in of_model]))
    if len(shared) < 2:
        raise DataError(f"every run was asked the same {len(shared)} questions; at least 2 are needed.")
    # models x runs x questions
    table = np.array([[[run[question] for question in shared] for run in of_model] for of_model in runs], dtype=float)
    m, r, n = table.shape
    grand, by_model, by_run = table.mean(), table.mean((1, 2)), table.mean(2)
    by_question, by_both = table.mean((0, 1)), table.mean(1)
    left = table - by_run[:, :, None] - by_both[:, None, :] + by_model[:, None, None]
    crossed_sum = ((by_both - by_model[:, None] - by_question[None] + grand) ** 2).sum() * r
    question_square = m * r * ((by_question - grand) ** 2).sum() / (n - 1)
    if m * r == 1:
        return Components(float(question_square), None, None, None, 0.0)
    if r == 1:
        # what belongs to a run and what to its model can't be told apart
        rest = float(crossed_sum / ((m - 1) * (n - 1)))
        model_square = n * ((by_model - grand) ** 2).sum() / (m - 1)
        return Components(_positive(question_square - rest, m), _positive(model_square - rest, n), None, None, rest)
    rest = float((left**2).sum() / (m * (r - 1) * (n - 1)))
    run_square = n * ((by_run - by_model[:, None]) ** 2).sum() / (m * (r - 1))
    of_runs = _positive(run_square - rest, n)
    if m == 1:
        return Components(_positive(question_square - rest, r), None, of_runs, None, rest)
    both_square = crossed_sum / ((m - 1) * (n - 1))
    model_square = n * r * ((by_model - grand) ** 2).sum() / (m - 1)
    return Components(
        questions=_positive(question_square - both_square, m * r),
        models=_positive(model_square - both_square - run_square + rest, n * r),
        runs=of_runs,
        questions_by_models=_positive(both_square - rest, r),
        rest=rest,
    )


def designs(found: Components, half_width: float = 0.03, questions: Sequence[int] = (66, 132, 330)) -> list[Design]:
    """For each number of questions the design with the fewest tunings (then the fewest alignments) that is narrow enough; left out where none is.

    Raises:
        ConfigError: a half width that is not above 0, or fewer than two questions.
    """
    if half_width <= 0 or min(questions, default=0) < 2:
        raise ConfigError(f"half_width={half_width} with {min(questions, default=0)} questions is not possible; give e.g. 0.03 and at least 2 questions.")
    models = range(2, MOST_MODELS + 1) if found.models is not None else range(1, 2)
    runs = range(1, MOST_RUNS + 1) if found.runs is not None else range(1, 2)
    sizes = sorted(((m, r) for m in models for r in runs if m * r > 1 or found.runs is None), key=lambda size: (size[0] * size[1], size[0]))
    chosen = []
    for n in questions:
        narrow = next(((m, r) for m, r in sizes if found.half_width(n, m, r) <= half_width), None)
        if narrow:
            chosen.append(Design(n, *narrow, found.half_width(n, *narrow)))
    return chosen


def best_width(found: Components, questions: int) -> float:
    """The half width that no number of models and runs undercuts: that of the questions alone."""
    from scipy import stats

    return float(stats.t.ppf((1 + LEVEL) / 2, questions - 1)) * math.sqrt(found.questions / questions)


def _positive(difference: float, divisor: int) -> float:
    return max(0.0, float(difference) / divisor)
