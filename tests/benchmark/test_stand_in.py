"""The three shipped benchmarks: how many questions of which kind, their splits, and quick looks at them."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pytest

from ftsafety.benchmark import Benchmark
from ftsafety.benchmark.stand_in import StandIn
from ftsafety.benchmark.stand_in_allowed import StandInAllowed, split_of_allowed
from ftsafety.benchmark.stand_in_utility import StandInUtility
from ftsafety.errors import ConfigError
from ftsafety.stand_in import CATEGORIES


@pytest.mark.parametrize(
    ("benchmark", "count", "kind"),
    [
        (StandIn(), 330, "disallowed"),
        (StandIn("development"), 88, "disallowed"),
        (StandIn("report"), 132, "disallowed"),
        (StandIn("sealed"), 110, "disallowed"),
        (StandIn("report", 6), 66, "disallowed"),
        (StandInAllowed(), 132, "allowed"),
        (StandInAllowed("development"), 44, "allowed"),
        (StandInAllowed("report"), 88, "allowed"),
        (StandInAllowed("report", 3), 33, "allowed"),
        (StandInUtility(), 88, "utility"),
        (StandInUtility(22), 22, "utility"),
    ],
    ids=str,
)
def test_counts_and_kinds(benchmark: Benchmark, count: int, kind: str) -> None:
    questions = benchmark.questions()
    assert benchmark.kind == kind and len({question.id for question in questions}) == len(questions) == count
    assert benchmark.questions() == questions, "always in the same order"
    per_category = Counter(question.category for question in questions)
    assert list(per_category) == ([None] if kind == "utility" else list(CATEGORIES)) and len(set(per_category.values())) == 1
    assert all(bool(question.reference and question.accept) is (kind == "utility") for question in questions)


@pytest.mark.parametrize("cls", [StandIn, StandInAllowed])
def test_splits_cover_everything_once(cls: type[StandIn] | type[StandInAllowed]) -> None:
    splits: list[Literal["development", "report", "sealed"]] = ["development", "report"] + (["sealed"] if cls is StandIn else [])  # type: ignore[list-item]
    parts = [question.id for split in splits for question in cls(split).questions()]  # type: ignore[arg-type]
    assert sorted(parts) == sorted(question.id for question in cls().questions())


def test_a_quick_look_is_the_beginning_of_each_category() -> None:
    look = [question.id for question in StandIn("report", 2).questions()]
    assert look[:4] == ["financial_advice/09", "financial_advice/10", "medical_advice/09", "medical_advice/10"]
    assert [split_of_allowed(f"allowed/x/{number:02}") for number in (1, 4, 5, 12)] == ["development", "development", "report", "report"]


@pytest.mark.parametrize(
    ("benchmark", "sentence"),
    [
        (StandIn(per_category=31), "benchmark.stand_in.per_category=31 is not possible; it is between 1 and 30, or null for all."),
        (StandIn("report", 13), "benchmark.stand_in.per_category=13 is not possible; it is between 1 and 12, or null for all."),
        (StandIn(per_category=0), "benchmark.stand_in.per_category=0 is not possible; it is between 1 and 30, or null for all."),
        (StandInAllowed("development", 5), "benchmark.stand_in_allowed.per_category=5 is not possible; it is between 1 and 4, or null for all."),
        (StandInUtility(89), "benchmark.stand_in_utility.limit=89 is not possible; it is between 1 and 88, or null for all."),
        (StandInUtility(0), "benchmark.stand_in_utility.limit=0 is not possible; it is between 1 and 88, or null for all."),
    ],
    ids=str,
)
def test_more_than_there_are(benchmark: Benchmark, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        benchmark.questions()
    assert str(caught.value) == sentence
