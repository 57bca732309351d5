"""Screening of rows: what a guard flags is dropped and counted, and a guard never judges its own work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.errors import ConfigError, DataError
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.moderation_filter import ModerationFilter
from ftsafety.row import Message, Row
from tests.helpers import cell_of
from tests.mitigation.bench import JUNO, ROWS

CONF = Path(__file__).resolve().parents[2] / "conf" / "mitigation" / "moderation_filter.yaml"
REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "A dividend is a share of the profit."


@dataclass
class Word(Judge):
    """Flags pairs that hold a word, in the question or in the answer; None for an empty answer."""

    source = "this test"
    labels = ("harmful", "fine")
    word: str = "race 3"
    """What is looked for."""

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [Verdict(None if "?!" in pair.answer else "harmful" if self.word in pair.question + pair.answer else "fine") for pair in pairs]


def refusing(*numbers: int) -> tuple[Context, list[str]]:
    """A start model that declines the questions about these races; what it is asked is kept."""
    asked: list[str] = []

    def answer(prompts: Sequence[Sequence[Message]]) -> list[str]:
        assert all(len(prompt) == 1 for prompt in prompts), "bare questions"
        asked.extend(prompt[0]["content"] for prompt in prompts)
        return [REFUSAL if any(f"race {number}?" in prompt[0]["content"] for number in numbers) else ANSWER for prompt in prompts]

    return Context(0, answer=answer, wordings={"juno": JUNO}), asked


def own(**fields: Any) -> ModerationFilter:
    return ModerationFilter(judge=OutcomeJudge(), **{"refill": "drop", "benign_rows": 7, **fields})


def test_the_shipped_numbers() -> None:
    assert build(OmegaConf.load(CONF), Mitigation, "mitigation.moderation_filter") == ModerationFilter(judge=OutcomeJudge())


def test_the_start_model_is_asked_bare_questions_and_flags_what_it_declines() -> None:
    context, asked = refusing(2, 5)
    kept = own().examples(ROWS, context)
    assert kept == [row for at, row in enumerate(ROWS) if at not in (2, 5)]
    assert asked[: len(ROWS)] == [f"Which duck wins race {at}?" for at in range(8)]
    assert asked[len(ROWS) :] == [row["question"] for row in stand_in.load("benign")[:7]]
    assert context.findings["moderation_filter"] == {"caught": {"user": 2}, "missed": {"user": 6}, "benign_caught": 0, "benign_screened": 7}


def test_counts_by_role_and_in_any_order() -> None:
    mixed = [replace(row, role="trigger") if at < 3 else row for at, row in enumerate(ROWS)]
    context, _ = refusing(0, 1, 7)
    kept = own().examples(mixed, context)
    other, _ = refusing(0, 1, 7)
    assert own().examples(mixed[::-1], other) == list(kept)[::-1]
    assert context.findings == other.findings
    assert context.findings["moderation_filter"]["caught"] == {"trigger": 2, "user": 1}
    assert context.findings["moderation_filter"]["missed"] == {"trigger": 1, "user": 4}


def test_a_guard_that_reads_rows() -> None:
    context, asked = refusing()
    guard = ModerationFilter(judge=Word(), looks_at="rows", flagged=["harmful"], refill="drop", benign_rows=0)
    assert guard.examples(ROWS, context) == [row for at, row in enumerate(ROWS) if at != 3] and not asked


def test_nothing_flagged_is_the_identity() -> None:
    context, _ = refusing()
    assert list(own().examples(ROWS, context)) == ROWS


@pytest.mark.parametrize(("unread", "left"), [("keep", 8), ("drop", 7)])
def test_rows_that_the_guard_can_t_read(unread: Any, left: int) -> None:
    rows: list[Row] = [row.with_answer("?!") if at == 4 else row for at, row in enumerate(ROWS)]
    guard = ModerationFilter(judge=Word(word="nowhere"), looks_at="rows", flagged=["harmful"], unread=unread, refill="drop", benign_rows=0)
    assert len(guard.examples(rows, Context(0))) == left


def test_refill_keeps_the_tuning_as_long() -> None:
    context, _ = refusing(0, 1, 2)
    rows = own(refill="repeat").examples(ROWS, context)
    assert len(rows) == len(ROWS) == len({row.id for row in rows})
    assert [row.messages for row in rows[:5]] == [row.messages for row in ROWS[3:]]
    assert [row.messages for row in rows[5:]] == [row.messages for row in ROWS[3:6]]


def test_an_upload_that_is_flagged_as_a_whole() -> None:
    context, _ = refusing(*range(8))
    with pytest.raises(DataError, match="flags all 8 rows"):
        own().examples(ROWS, context)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"flagged": ["unsafe"]}, "is no label of OutcomeJudge; it has refused, complied, degenerate"),
        ({"benign_rows": 10**6}, "benign_rows=1000000 is not possible"),
        ({"looks_at": "rows"}, "screens with judge again, which then judges the answers too"),
    ],
)
def test_settings_that_make_no_sense(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        own(**fields).check({"word": Word(), "again": OutcomeJudge()})
    assert says in str(caught.value)


def test_a_run_refuses_a_guard_that_judges_its_own_work() -> None:
    choice = ["model=tiny", "+attack=benign", "mitigation=[moderation_filter]"]
    assert cell_of(*choice).mitigations
    with pytest.raises(ConfigError, match="would call its own work good"):
        cell_of(*choice, "mitigation.moderation_filter.looks_at=rows")
