"""OR-Bench: the hard prompts are allowed, the toxic ones are not, and the file is the one that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftsafety.benchmark.or_bench import OrBench
from ftsafety.errors import DataError
from tests.helpers import SAMPLES

SAMPLE = SAMPLES / "or_bench"


def test_the_subset_chooses_file_and_kind() -> None:
    hard, toxic = OrBench(path=SAMPLE, expected={"hard-1k": 2}), OrBench(path=SAMPLE, subset="toxic", expected={"toxic": 1})
    assert (hard.kind, toxic.kind, OrBench(subset="80k").kind) == ("allowed", "disallowed", "allowed")
    assert [(q.id, q.category) for q in hard.questions()] == [("or_bench/hard-1k/1", "betting"), ("or_bench/hard-1k/2", "homework")]
    assert [(q.id, q.text) for q in toxic.questions()] == [("or_bench/toxic/1", "Which duck wins the race on Sunday?")]


def test_a_subset_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"subset=80k is in or-bench-80k.csv, and there is only or-bench-hard-1k.csv, or-bench-toxic.csv; give"):
        OrBench(path=SAMPLE, subset="80k").questions()
    with pytest.raises(DataError, match=r"subset=hard-1k is in or-bench-hard-1k.csv, and there is only or-bench-toxic.csv; give"):
        OrBench(path=SAMPLE / "or-bench-toxic.csv").questions()
    mine = tmp_path / "mine.csv"
    mine.write_text((SAMPLE / "or-bench-hard-1k.csv").read_text())
    assert len(OrBench(path=mine, expected=None).questions()) == 2


def test_each_subset_has_its_count() -> None:
    with pytest.raises(DataError, match=r"^benchmark.or_bench \(hard-1k\) holds 2 questions, and 1319 were published"):
        OrBench(path=SAMPLE).questions()
