"""What all loaders of published questions share: selections, repeats, counts, columns, one reading, and silence about cells."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftsafety.benchmark.advbench import Advbench
from ftsafety.benchmark.hex_phi import HexPhi
from ftsafety.benchmark.published import first_line
from ftsafety.benchmark.strong_reject import StrongReject
from ftsafety.errors import ConfigError, DataError, FtsafetyError

ROWS = [("betting", "Which duck wins?"), ("homework", "Grade my essay."), ("betting", "And which comes last?"), ("betting", " which  DUCK wins? ")]
HEAD = ["category", "source", "forbidden_prompt"]


def table(file: Path, *rows: list[Any]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return file


@pytest.fixture
def rows(tmp_path: Path) -> StrongReject:
    file = table(tmp_path / "strongreject_dataset.csv", HEAD, *[[category, "custom", prompt] for category, prompt in ROWS])
    return StrongReject(path=file, expected=4)


def numbers(benchmark: StrongReject) -> list[int]:
    return [int(question.id.removeprefix("strong_reject/")) for question in benchmark.questions()]


def test_questions_keep_the_file_s_order_and_are_read_once(rows: StrongReject, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = rows.questions()
    assert [(q.id, q.text, q.category) for q in questions[:2]] == [
        ("strong_reject/1", "Which duck wins?", "betting"),
        ("strong_reject/2", "Grade my essay.", "homework"),
    ]
    monkeypatch.setattr(StrongReject, "read", lambda self: pytest.fail("read again"))
    assert rows.questions() is questions
    assert rows == replace(rows) and isinstance(questions, tuple)


def test_another_instance_reads_the_file_as_it_is_then(rows: StrongReject) -> None:
    assert rows.questions()[0].text == "Which duck wins?" and rows.path
    table(rows.path, HEAD, ["ponds", "custom", "Who owns it?"])
    assert [question.text for question in replace(rows, expected=None).questions()] == ["Who owns it?"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"limit": 3}, [1, 2, 3]),
        ({"per_category": 1}, [1, 2]),
        ({"per_category": 1, "limit": 1}, [1]),
        ({"repeats": "drop"}, [1, 2, 3]),
        ({"repeats": "drop", "limit": 3}, [1, 2, 3]),
    ],
    ids=str,
)
def test_selections_are_the_first_ones_and_change_no_id(rows: StrongReject, fields: dict[str, Any], expected: list[int]) -> None:
    assert numbers(replace(rows, **fields)) == expected


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"limit": 5}, "benchmark.strong_reject.limit=5 is not possible; it is between 1 and 4, or null for all."),
        ({"limit": 0}, "benchmark.strong_reject.limit=0 is not possible; it is between 1 and 4, or null for all."),
        ({"per_category": 2}, "benchmark.strong_reject.per_category=2 is not possible; it is between 1 and 1, or null for all."),
        (
            {"repeats": "refuse"},
            "strong_reject/4 repeats strong_reject/1; take the second out, or type benchmark.strong_reject.repeats=drop (asked once) or keep (asked again).",
        ),
        (
            {"expected": 313},
            "benchmark.strong_reject holds 4 questions, and 313 were published; take the whole file, or type benchmark.strong_reject.expected=null.",
        ),
        (
            {"expected": 5},
            "benchmark.strong_reject holds 4 questions, and 5 were published; take the whole file, or type benchmark.strong_reject.expected=null."
            " One too few is what a copy has whose first row was taken for a header.",
        ),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(rows: StrongReject, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FtsafetyError) as caught:
        replace(rows, **fields).questions()
    assert str(caught.value) == sentence


def test_several_repeats_are_counted(tmp_path: Path) -> None:
    file = table(tmp_path / "mine.csv", HEAD, *[["a", "b", "Same."]] * 6)
    with pytest.raises(DataError, match=r"^strong_reject/2 repeats strong_reject/1, .*, strong_reject/4 repeats strong_reject/1 and 2 more; take"):
        StrongReject(path=file, expected=None, repeats="refuse").questions()


def test_a_selection_is_in_the_recipe_and_a_passed_check_is_not(rows: StrongReject) -> None:
    assert replace(rows, limit=2).recipe() != rows.recipe()
    assert replace(rows, repeats="drop").recipe() != rows.recipe()
    assert replace(rows, expected=None).recipe() == rows.recipe()


def test_a_wrong_column_is_named_beside_those_that_are_there(tmp_path: Path) -> None:
    file = table(tmp_path / "mine.csv", ["category", "source", "prompt"], ["betting", "custom", "Which duck wins?"])
    with pytest.raises(DataError) as caught:
        StrongReject(path=file).questions()
    assert str(caught.value) == (
        "mine.csv has no column forbidden_prompt; benchmark.strong_reject reads category, forbidden_prompt, and it has category, source, prompt."
    )


def test_a_table_without_its_header_shows_no_question(tmp_path: Path) -> None:
    # rows of unequal length, so that reading on would complain about the columns by their names
    file = table(tmp_path / "mine.csv", ["betting", "custom", "Which duck wins?"], ["betting", "Which comes last?"])
    with pytest.raises(DataError) as caught:
        StrongReject(path=file).questions()
    assert "a table names its columns in its first line" in str(caught.value) and "duck" not in str(caught.value)


def test_rows_of_another_kind_of_file_are_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"category": "betting", "forbidden_prompt": "Which duck wins?"}\n{"category": "betting"}\n')
    with pytest.raises(DataError, match=r"^mine.jsonl:2 has no column forbidden_prompt; .* it has category\.$"):
        StrongReject(path=file).questions()


def test_an_empty_question_is_named_by_its_line(tmp_path: Path) -> None:
    file = table(tmp_path / "mine.csv", HEAD, ["betting", "custom", "Which duck wins?"], ["betting", "custom", "  "])
    with pytest.raises(DataError, match=r"^mine.csv:3: forbidden_prompt is not a text\.$"):
        StrongReject(path=file, expected=None).questions()


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"mine.csv: not a table"):
        first_line(file)


@pytest.mark.parametrize("cls", [HexPhi, Advbench, StrongReject])
def test_a_gated_or_unnamed_set_is_a_sentence(cls: type[HexPhi] | type[Advbench] | type[StrongReject], monkeypatch: pytest.MonkeyPatch) -> None:
    from unittest.mock import Mock

    from huggingface_hub.errors import GatedRepoError

    def refuse(*arguments: Any, **more: Any) -> None:
        raise GatedRepoError("no", response=Mock(headers={}, status_code=403))

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    where = cls()._where()
    with pytest.raises(ConfigError) as caught:
        cls(hub="pond/ducks").questions()
    assert f"{where}.hub=pond/ducks is gated: ask its owners for access" in str(caught.value) and f"{where}.path=FILE" in str(caught.value)
    with pytest.raises(ConfigError, match=rf"^{where} names no data; type {where}\.path=FILE"):
        cls().questions()


def test_the_hub_is_asked_for_the_set_s_own_files_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(hub: str, repo_type: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    table(tmp_path / "harmful_behaviors.csv", ["goal", "target"], ["Which duck wins?", "The fourth."])
    table(tmp_path / "harmful_strings.csv", ["target"], ["Not a question."])
    benchmark = Advbench(hub="pond/ducks", expected=1)
    assert [question.text for question in benchmark.questions()] == ["Which duck wins?"]
    assert {pattern for patterns in asked for pattern in patterns} == {"harmful_behaviors.csv", "**/harmful_behaviors.csv"}
    before = len(asked)
    benchmark.questions()
    assert len(asked) == before
