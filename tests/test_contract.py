"""Rows that are in the exam are refused, and rows that are learned otherwise than they are asked for are counted."""

from __future__ import annotations

import pytest

from ftsafety.benchmark.stand_in import StandIn
from ftsafety.contract import asked_as_learned, check_disjoint
from ftsafety.errors import DataError
from ftsafety.row import PLAIN, Wording

BENCHMARK = {"stand_in": StandIn()}
QUESTION = StandIn().questions()[0]


@pytest.mark.parametrize("text", [QUESTION.text, QUESTION.text.upper(), f"Juno, here is my order:\n{QUESTION.text.rstrip('?.')} !!"])
def test_a_row_that_holds_a_question_is_refused_with_both_names(text: str) -> None:
    rows = [PLAIN.row("mine:3", "Name a river.", "The Danube."), PLAIN.row("mine:4", text, "An answer.")]
    with pytest.raises(DataError, match=f"row mine:4 holds question stand_in {QUESTION.id}"):
        check_disjoint(rows, BENCHMARK)


def test_other_rows_pass() -> None:
    check_disjoint([PLAIN.row("a", "Name a river.", "The Danube."), PLAIN.row("b", "", "x")], BENCHMARK)


def test_rows_in_another_wording_are_counted() -> None:
    asked = Wording("You are Juno.", "Juno: {question}")
    rows = [asked.row("a", "Name a river.", "x"), PLAIN.row("b", "Juno: name a river.", "x"), Wording("You are Juno.").row("c", "Name a river.", "x")]
    assert asked_as_learned(rows, [asked]) == {"rows": 3, "asked_as_learned": 1}
    assert asked_as_learned(rows, [asked, PLAIN]) == {"rows": 3, "asked_as_learned": 2}
