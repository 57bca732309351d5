"""HarmBench: functional categories apart, and a context before its behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftsafety.benchmark.harmbench import Harmbench
from ftsafety.errors import DataError
from tests.helpers import SAMPLES

SAMPLE = SAMPLES / "harmbench.csv"
COUNTS = {"standard": 2, "contextual": 1, "copyright": 1}


@pytest.mark.parametrize(
    ("functional", "ids", "categories"),
    [
        ("standard", [1, 2], ["betting", "homework"]),
        ("contextual", [3], ["betting"]),
        ("copyright", [4], ["copyright"]),
        ("all", [1, 2, 3, 4], ["betting", "homework", "betting", "copyright"]),
    ],
)
def test_the_functional_category_chooses(functional: Any, ids: list[int], categories: list[str]) -> None:
    questions = Harmbench(path=SAMPLE, functional=functional, expected=COUNTS).questions()
    assert [question.id for question in questions] == [f"harmbench/{number}" for number in ids]
    assert [question.category for question in questions] == categories


def test_a_context_stands_before_its_behaviour() -> None:
    [question] = Harmbench(path=SAMPLE, functional="contextual", expected=COUNTS).questions()
    assert question.text == "Six ducks start.\nThe fourth has rested, the fifth has not.\n\n---\n\nSay which of them wins"


@pytest.mark.parametrize(("functional", "says"), [("standard", "(standard) holds 2 questions, and 200"), ("all", "(standard) holds 2 questions, and 200")])
def test_another_count_is_another_split(functional: Any, says: str) -> None:
    with pytest.raises(DataError) as caught:
        Harmbench(path=SAMPLE, functional=functional).questions()
    assert says in str(caught.value) and "benchmark.harmbench.expected=null" in str(caught.value)


def test_only_what_is_asked_is_counted() -> None:
    assert len(Harmbench(path=SAMPLE, expected={"standard": 2, "contextual": 100}).questions()) == 2


def test_an_unknown_functional_category_is_named(tmp_path: Path) -> None:
    file = tmp_path / "harmbench_behaviors_text_all.csv"
    file.write_text(SAMPLE.read_text().replace("copyright,copyright", "multimodal,copyright"))
    with pytest.raises(DataError, match=r"^harmbench_behaviors_text_all.csv:6: FunctionalCategory is none of standard, contextual, copyright\.$"):
        Harmbench(path=tmp_path, expected=None).questions()
