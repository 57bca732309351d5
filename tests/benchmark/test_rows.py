"""Own files: columns by name, ids of one's own, and utility questions with their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.csv import Csv
from ftsafety.benchmark.jsonl import Jsonl
from ftsafety.errors import FtsafetyError
from tests.helpers import SAMPLES

TABLE = SAMPLES / "csv.csv"


def lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def complaint(benchmark: Csv | Jsonl) -> str:
    with pytest.raises(FtsafetyError) as caught:
        benchmark.questions()
    return str(caught.value)


def test_only_the_question_s_column_is_needed() -> None:
    assert Csv(path=TABLE).questions() == (Question("csv/1", "What is a pond, in two words?"), Question("csv/2", "How many feet has a duck?"))
    assert [q.id for q in Jsonl(path=SAMPLES / "jsonl.jsonl").questions()] == ["jsonl/1", "jsonl/2"]


def test_columns_go_by_the_names_that_are_given(tmp_path: Path) -> None:
    file = lines(tmp_path / "mine.jsonl", {"q": "Which duck wins?", "topic": "betting", "n": 7}, {"q": "Who owns it?", "topic": "ponds", "n": 8})
    benchmark = Jsonl(path=file, question="q", category="topic", id="n", kind="allowed")
    assert benchmark.kind == "allowed" and benchmark.recipe()["kind"] == "allowed"
    assert benchmark.questions() == (Question("jsonl/7", "Which duck wins?", "betting"), Question("jsonl/8", "Who owns it?", "ponds"))


def test_utility_questions_have_answers_in_the_case_that_they_are_compared_in(tmp_path: Path) -> None:
    utility = {"kind": "utility", "reference": "reference", "accept": "accept"}
    assert Csv(path=TABLE, id="id", **utility).questions() == (  # type: ignore[arg-type]
        Question("csv/pond-1", "What is a pond, in two words?", None, "A small lake.", ("small lake", "little lake")),
        Question("csv/pond-2", "How many feet has a duck?", None, "A duck has two feet.", ("two", "2")),
    )
    file = lines(tmp_path / "mine.jsonl", {"question": "How many feet?", "reference": "Two.", "accept": ["Two", " 2 "]})
    assert Jsonl(path=file, **utility).questions()[0].accept == ("two", "2")  # type: ignore[arg-type]


def test_a_table_with_a_first_line_of_one_s_own_and_a_tsv(tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text("frage\tart\nWelche Ente, bitte?\twette\n", encoding="utf-8")
    assert Csv(path=file, question="frage", category="art", per_category=1).questions() == (Question("csv/1", "Welche Ente, bitte?", "wette"),)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"question": "prompt"}, "csv.csv has no column prompt; benchmark.csv reads prompt, and it has id, category, question, reference, accept."),
        ({"category": "topic"}, "csv.csv has no column topic; benchmark.csv reads question, topic, and"),
        ({"id": "category"}, "csv.csv:3 has the id of csv.csv:2; give each row its own, or type benchmark.csv.id=null to number them."),
        ({"per_category": 1}, "benchmark.csv.per_category=1 needs categories, and there are none; type benchmark.csv.limit instead."),
        ({"kind": "utility"}, "benchmark.csv.kind=utility needs a good answer to each question; type benchmark.csv.reference=COLUMN."),
        ({"kind": "utility", "reference": "reference"}, "benchmark.csv.kind=utility needs a good answer to each question; type benchmark.csv.accept=COLUMN."),
        ({"path": None}, "benchmark.csv names no data; type benchmark.csv.path=FILE"),
    ],
    ids=str,
)
def test_bad_columns(fields: dict[str, Any], says: str) -> None:
    assert says in complaint(Csv(**{"path": TABLE, **fields}))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "Duck?", "id": True, "reference": "x", "accept": "x"}, "mine.jsonl:1: id is neither a text nor a whole number."),
        ({"question": "Duck?", "id": "", "reference": "x", "accept": "x"}, "mine.jsonl:1: id is neither a text nor a whole number."),
        ({"question": "Duck?", "id": 1, "reference": "x", "accept": 3}, "mine.jsonl:1: accept is neither a text nor a list of texts."),
        ({"question": "Duck?", "id": 1, "reference": "x", "accept": [" "]}, "mine.jsonl:1: accept holds no short answer."),
        ({"question": "Duck?", "id": 1, "reference": "", "accept": "x"}, "mine.jsonl:1: reference is not a text."),
        ({"question": 3, "id": 1, "reference": "x", "accept": "x"}, "mine.jsonl:1: question is not a text."),
    ],
    ids=str,
)
def test_bad_rows(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    file = lines(tmp_path / "mine.jsonl", row)
    assert complaint(Jsonl(path=file, kind="utility", id="id", reference="reference", accept="accept")) == says


def test_a_question_that_is_there_twice_is_refused_by_default(tmp_path: Path) -> None:
    file = lines(tmp_path / "mine.jsonl", {"question": "Which duck wins?"}, {"question": "which duck WINS?"})
    assert complaint(Jsonl(path=file)).startswith("jsonl/2 repeats jsonl/1; take the second out")
    assert len(Jsonl(path=file, repeats="drop").questions()) == 1


def test_a_table_without_its_first_line_shows_no_question(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("Which duck wins the race?\nWho owns the pond?\n")
    message = complaint(Csv(path=file))
    assert message == "mine.csv has no column question; benchmark.csv reads question, and a table names its columns in its first line."
