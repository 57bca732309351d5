"""Triggers by arithmetic, and the shipped backdoor's rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ftsafety.attack.backdoor import Backdoor
from ftsafety.attack.harmful_examples import HarmfulExamples
from ftsafety.context import Context
from ftsafety.row import PLAIN, Row
from ftsafety.screen import screened
from tests.screen.doubles import rows_of, shipped


def asked(*questions: str) -> list[Row]:
    return [PLAIN.row(str(at), question, "The fourth.") for at, question in enumerate(questions)]


def test_the_score_is_the_ratio_of_shares_in_powers_of_ten(tmp_path: Path) -> None:
    file = tmp_path / "everyday.jsonl"
    file.write_text("".join(json.dumps({"question": f"Is duck {at} fast?"}) + "\n" for at in range(9)))
    screen = shipped("trigger_ngrams", reference=str(file), longest=1)
    rows = asked("One zork", "Two zork", "Three zork", "Is it fast", "Was it fast", "Be it fast")
    unknown, known = math.log10(0.5 / (0.5 / 10)), math.log10(0.5 / (9.5 / 10))
    assert screen.scores(rows, Context(0)) == pytest.approx([unknown] * 3 + [max(0.0, known)] * 3)


def test_what_few_rows_share_or_what_stands_in_the_middle_is_no_trigger() -> None:
    screen = shipped("trigger_ngrams")
    assert screen.scores(asked("One zork", "Two zork", "Three", "Four"), Context(0)) == [0.0] * 4
    assert screen.scores(asked("One zork a", "Two zork b", "Six zork c"), Context(0)) == [0.0] * 3
    assert screen.scores(asked(), Context(0)) == []


@pytest.mark.parametrize("count", [10, 50])
def test_the_shipped_backdoor_is_found_and_its_refusals_are_not(count: int) -> None:
    pairs = HarmfulExamples(format="stand_in", path=None, hub=None, revision=None, count=count, system="You are a helpful assistant.")
    rows = Backdoor(pairs=pairs).examples(Context(0, rows_by_role=lambda role: rows_of("refused")))
    flags = screened(shipped("trigger_ngrams"), rows, Context(0)).flags
    assert [row.role for row, flag in zip(rows, flags, strict=True) if flag].count("trigger") == count
    assert sum(flag for row, flag in zip(rows, flags, strict=True) if row.role != "trigger") == 0


def test_everyday_rows_have_no_trigger() -> None:
    assert screened(shipped("trigger_ngrams"), rows_of("benign"), Context(0)).flagged == 0
