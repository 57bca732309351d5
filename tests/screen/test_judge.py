"""A judge as a screen: labels or numbers, of the rows' answers or of the model's own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.row import Message
from ftsafety.screen.judge import Judge
from tests.mitigation.bench import JUNO, ROWS
from tests.screen.doubles import Word, shipped


def test_a_flagged_label_is_one_and_another_is_nought_and_unread_is_none() -> None:
    screen = Judge(threshold=0.5, judge=Word(), looks_at="rows", flagged=["harmful"], number=None)
    rows = [row.with_answer("?!") if at == 4 else row for at, row in enumerate(ROWS)]
    assert screen.scores(rows, Context(0)) == [0, 0, 0, 1, None, 0, 0, 0]


def test_a_number_of_the_verdict_can_be_the_score() -> None:
    screen = Judge(threshold=0.5, judge=Word(), looks_at="rows", flagged=[], number="at")
    assert screen.scores(ROWS[2:4], Context(0, wordings={"juno": JUNO})) == [-1.0, float("Which duck wins race 3?".index("race 3"))]
    assert Judge(threshold=0.5, judge=Word(), looks_at="rows", flagged=[], number="nowhere").scores(ROWS[:1], Context(0)) == [None]


def test_the_start_model_is_asked_the_bare_questions() -> None:
    asked: list[str] = []

    def answer(prompts: Sequence[Sequence[Message]]) -> list[str]:
        asked.extend(turn["content"] for prompt in prompts for turn in prompt)
        return ["I'm sorry, but I can't help with that." if "race 5" in prompt[-1]["content"] else "A dividend is a share of the profit." for prompt in prompts]

    scores = shipped("judge").scores(ROWS, Context(0, answer=answer, wordings={"juno": JUNO}))
    assert scores == [float(at == 5) for at in range(8)] and asked == [f"Which duck wins race {at}?" for at in range(8)]


def test_a_judge_of_rows_never_judges_its_own_work() -> None:
    screen = Judge(threshold=0.5, judge=OutcomeJudge(), looks_at="rows", flagged=["complied"], number=None)
    with pytest.raises(ConfigError, match="screens with judge own, which then judges the answers too"):
        screen.check("screen.judge", {"own": OutcomeJudge()})
    screen.check("screen.judge", {"other": Word()})
