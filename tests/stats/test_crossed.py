"""Questions times runs: known answers, what counts as a run, and how often the intervals cover the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ftsafety.errors import DataError
from ftsafety.stats import CHANGE, Crossed, crossed, distinct, paired_rate, rate
from ftsafety.stats.crossed import Runs


def runs_of(table: Any) -> dict[str, dict[str, float]]:
    """A table of questions x runs as runs."""
    return {f"run {run}": {f"q{question:03d}": float(value) for question, value in enumerate(column)} for run, column in enumerate(np.asarray(table).T)}


def errors(found: Crossed) -> dict[str, float]:
    return {source.name: source.error for source in found.sources}


def test_one_way_at_a_time_it_is_the_textbook_s_standard_error() -> None:
    table = np.random.default_rng(1).normal(2, 1, (40, 5)) + np.arange(5)
    found = crossed(runs_of(table), bounds=None, draws=20_000)
    assert found.value == pytest.approx(table.mean()) and found.center == found.value
    assert errors(found)["questions"] == pytest.approx(scipy_stats.sem(table.mean(1)), rel=0.03)
    assert errors(found)["runs"] == pytest.approx(scipy_stats.sem(table.mean(0)), rel=0.03)
    halves = [scipy_stats.t.ppf(0.975, df) * scipy_stats.sem(table.mean(axis)) for df, axis in ((39, 1), (4, 0))]
    assert found.half_width() == pytest.approx(math.hypot(*halves), rel=0.03)


def test_clusters_are_drawn_whole() -> None:
    draw = np.random.default_rng(2)
    category = np.arange(60) % 6
    table = (draw.normal(0, 1, 6)[category] + draw.normal(0, 0.1, 60))[:, None]
    clusters = {f"q{question:03d}": f"category {category[question]}" for question in range(60)}
    by_question, by_cluster = (crossed(runs_of(table), clusters=labels, bounds=None, draws=20_000) for labels in (None, clusters))
    means = [table[category == at].mean() for at in range(6)]
    assert errors(by_cluster)["questions"] == pytest.approx(scipy_stats.sem(means), rel=0.03)
    assert by_cluster.sources[0].groups == 6 and by_cluster.half_width() > 2 * by_question.half_width()


def test_runs_of_one_aligned_model_are_a_family() -> None:
    table = np.random.default_rng(3).normal(0, 0.1, (50, 6)) + np.repeat([0.0, 1.0, 3.0], 2)
    families = {f"run {run}": f"aligned {run // 2}" for run in range(6)}
    found = crossed(runs_of(table), families=families, bounds=None, draws=20_000)
    assert (found.runs, found.sources[1].groups) == (6, 3)
    assert errors(found)["runs"] == pytest.approx(scipy_stats.sem([table[:, at : at + 2].mean() for at in (0, 2, 4)]), rel=0.03)


def test_equal_weights_are_one_run() -> None:
    draw = np.random.default_rng(4)
    values = {f"q{at}": float(draw.random() < 0.5) for at in range(66)}
    seeds = [("same", values), ("same", dict(values)), ("same", dict(values))]
    found = crossed(distinct(seeds))
    assert (found.runs, found.covers) == (1, ("questions",))
    assert crossed(distinct([*seeds, ("other", values)])).covers == ("questions", "runs")


def test_few_runs_count_as_few() -> None:
    """Two runs are multiplied by 12.7, however many questions they were asked."""
    table = np.random.default_rng(5).random((330, 2)) < np.array([0.4, 0.5])
    found = crossed(runs_of(table))
    assert found.half_width() >= scipy_stats.t.ppf(0.975, 1) * errors(found)["runs"] > 10 * errors(found)["runs"]


def test_one_run_s_interval_is_near_wilson_s_and_newcombe_s() -> None:
    draw = np.random.default_rng(6)
    for share in (0.05, 0.3, 0.9):
        hits = draw.random(132) < share
        found, expected = crossed(runs_of(hits[:, None]), draws=20_000).estimate(), rate(list(hits))
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.012)
    before, after = draw.random(132) < 0.1, draw.random(132) < 0.5
    change = crossed(runs_of((after.astype(float) - before)[:, None]), bounds=CHANGE, draws=20_000).estimate()
    expected = paired_rate(list(before), list(after))
    assert (change.low, change.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_everything_turned_is_not_a_point() -> None:
    """66 of 66 declined before, all complied after, in every run; Agresti and Min's interval by hand."""
    found = crossed(runs_of(np.ones((66, 3))), bounds=CHANGE).estimate()
    center = 66 / 68
    error = math.sqrt(0.5 * (1 - center) ** 2 + 0.5 * (1 + center) ** 2 + center**2) / 68
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(center - scipy_stats.t.ppf(0.975, 65) * error)
    assert found.p_value is not None and found.p_value < 1e-6


def test_two_methods_share_their_questions() -> None:
    draw = np.random.default_rng(7)
    hard = draw.normal(0, 2, 200)[:, None]
    first, second = hard + draw.normal(1, 0.1, (200, 4)), hard + draw.normal(0, 0.1, (200, 3))
    found = crossed(runs_of(first), runs_of(second), bounds=None)
    assert found.value == pytest.approx(first.mean() - second.mean()) and found.covers == ("questions", "runs", "other runs")
    assert errors(found)["questions"] < 0.02, "hard questions are hard for both"
    mirror = crossed(runs_of(second), runs_of(first), bounds=None)
    assert mirror.value == -found.value and mirror.half_width() == pytest.approx(found.half_width())


def test_unread_answers_are_left_out_and_other_questions_too() -> None:
    runs: Runs = {"a": {"q1": 1.0, "q2": 0.0, "q3": 1.0}, "b": {"q1": 1.0, "q3": 1.0}}
    assert crossed(runs).value == 4 / 5
    assert crossed(runs, {"c": {"q1": 0.0, "q3": 1.0, "q9": 1.0}}).value == 0.5
    with pytest.raises(DataError, match="1 questions that both sides were asked"):
        crossed(runs, {"c": {"q1": 0.0}})
    with pytest.raises(DataError, match="1 clusters"):
        crossed(runs, clusters=dict.fromkeys(("q1", "q2", "q3"), "one"))
    with pytest.raises(DataError, match="a run has no value for any"):
        crossed({**runs, "d": {}})


def test_the_p_value_is_the_interval_s() -> None:
    table = np.random.default_rng(8).random((100, 4)) < 0.5
    found = crossed(runs_of(table))
    for level in (0.5, 0.9, 0.99):
        low, high = found.interval(level)
        assert found.p_value(low) == pytest.approx(1 - level, abs=1e-6) and found.p_value(high) == pytest.approx(1 - level, abs=1e-6)
    assert found.p_value(found.center) == 1.0 and found.p_value(-5.0) < 1e-4


def test_the_same_seed_gives_the_same_interval() -> None:
    table = np.random.default_rng(9).random((50, 3)) < 0.3
    assert crossed(runs_of(table)).interval() == crossed(runs_of(table)).interval()
    assert crossed(runs_of(table)).interval() != crossed(runs_of(table), seed=1).interval()


# --- coverage --------------------------------------------------------------------------------------------------------------

TIMES = 200
LEAST = 0.95 - 2.6 * math.sqrt(0.95 * 0.05 / TIMES)
"""An interval that covers in 95 % of cases falls below this once in two hundred tests."""


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def world(draw: np.random.Generator, questions: int, runs: int, base: float, by_question: float, by_run: float, by_category: float) -> Any:
    """Answers of questions x runs, whose difficulties are drawn anew in each of 11 categories."""
    category = draw.normal(0, by_category, 11)[np.arange(questions) % 11]
    lean = base + category[:, None] + draw.normal(0, by_question, (questions, 1)) + draw.normal(0, by_run, (1, runs))
    return draw.random((questions, runs)) < logistic(lean)


@pytest.mark.parametrize(
    ("questions", "runs", "base", "by_question", "by_run", "by_category"),
    [(66, 1, 0.0, 1.5, 0.0, 0.0), (66, 1, -3.0, 1.0, 0.0, 0.0), (66, 3, 0.0, 1.5, 0.5, 0.0), (66, 3, -3.0, 1.5, 0.3, 0.0), (330, 3, 2.0, 1.5, 0.4, 0.0),
     (66, 2, 0.0, 1.5, 0.3, 0.0), (66, 5, 2.0, 1.0, 0.5, 0.7)],
)  # fmt: skip
def test_the_interval_covers_the_mean_over_all_questions_and_runs(
    questions: int, runs: int, base: float, by_question: float, by_run: float, by_category: float
) -> None:
    draw = np.random.default_rng(11)
    truth = logistic(base + math.sqrt(by_question**2 + by_run**2 + by_category**2) * np.random.default_rng(0).normal(size=400_000)).mean()
    clusters = {f"q{question:03d}": str(question % 11) for question in range(questions)} if by_category else None
    covered = 0
    for _ in range(TIMES):
        low, high = crossed(runs_of(world(draw, questions, runs, base, by_question, by_run, by_category)), clusters=clusters, draws=500).interval()
        covered += low <= truth <= high
    assert covered / TIMES >= LEAST


def test_questions_alone_do_not_cover_the_runs() -> None:
    """The reason for all this: a hundred questions of one run say little about the next run."""
    draw, covered = np.random.default_rng(12), 0
    for _ in range(TIMES):
        table = world(draw, 132, 3, 0.0, 0.5, 1.0, 0.0)
        pooled = rate([bool(value) for value in table.ravel()])
        covered += pooled.low <= 0.5 <= pooled.high
    assert covered / TIMES < 0.5


def test_the_difference_of_two_methods_is_covered() -> None:
    draw, covered, refuted = np.random.default_rng(13), 0, 0
    for _ in range(TIMES):
        hard = draw.normal(0, 1.5, (66, 1))
        first, second = (draw.random((66, 3)) < logistic(hard + draw.normal(0, 0.4, (1, 3))) for _ in range(2))
        found = crossed(runs_of(first), runs_of(second), draws=500)
        low, high = found.interval()
        covered += low <= 0 <= high
        refuted += found.p_value() < 0.05
    assert covered / TIMES >= LEAST
    assert refuted == TIMES - covered, "interval and test agree"
