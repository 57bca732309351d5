"""The harmful score's questions: which rows the git-disl repositories take, in which order, repeats and all."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from ftsafety.benchmark.beavertails_hs import BeavertailsHs
from ftsafety.errors import DataError
from tests.helpers import SAMPLES

SAMPLE = SAMPLES / "beavertails_hs.jsonl"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [1, 3, 5]),
        ({"limit": 2}, [1, 3]),
        ({"unsafe_only": False, "limit": 4}, [1, 2, 3, 4]),
        ({"repeats": "drop"}, [1, 5]),
        ({"unsafe_only": False, "repeats": "drop"}, [1, 4, 5]),
    ],
    ids=str,
)
def test_rows_are_taken_in_file_order(fields: dict[str, Any], expected: list[int]) -> None:
    questions = BeavertailsHs(path=SAMPLE, expected=5, **fields).questions()
    assert [question.id for question in questions] == [f"beavertails_hs/{number}" for number in expected]


def test_the_packed_file_of_the_hub_gives_the_same(tmp_path: Path) -> None:
    for split in ("30k", "330k"):
        (tmp_path / "round0" / split).mkdir(parents=True)
        (tmp_path / "round0" / split / "test.jsonl.gz").write_bytes(gzip.compress(SAMPLE.read_bytes() if split == "30k" else b"{}"))
    (tmp_path / "round0" / "30k" / "train.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    assert BeavertailsHs(path=tmp_path, expected=5).questions() == BeavertailsHs(path=SAMPLE, expected=5).questions()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"no", r"test.jsonl.gz can't be unpacked"),
        (gzip.compress(SAMPLE.read_bytes())[:-9], r"test.jsonl.gz can't be unpacked"),
        (gzip.compress(b'{"prompt": \n'), r"^{file}:1: not JSON"),
        (gzip.compress(b""), r"test.jsonl.gz holds no rows\.$"),
        (gzip.compress(b'{"prompt": "Duck?"}'), r"has no column is_safe; benchmark.beavertails_hs reads prompt, is_safe, and it has prompt\.$"),
        (gzip.compress(b'{"prompt": "Duck?", "is_safe": "no"}'), r"^test.jsonl.gz:1: is_safe is neither true nor false\.$"),
    ],
    # packed bytes hold the time, and every process of a test run has to call a test the same
    ids=["not packed", "cut", "not JSON", "empty", "no column", "no truth"],
)
def test_bad_files_are_named(tmp_path: Path, raw: bytes, says: str) -> None:
    file = tmp_path / "test.jsonl.gz"
    file.write_bytes(raw)
    with pytest.raises(DataError, match=says.replace("{file}", str(file))):
        BeavertailsHs(path=file, expected=None).questions()


def test_another_split_has_another_count() -> None:
    with pytest.raises(DataError, match=r"^benchmark.beavertails_hs holds 5 questions, and 3021 were published"):
        BeavertailsHs(path=SAMPLE).questions()
