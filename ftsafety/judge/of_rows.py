"""Verdicts on training rows: on what they answer, or on what the start model itself answers to their questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ftsafety.judge.base import Judge, Pair, Verdict
from ftsafety.row import PLAIN, Row, unwrapped

if TYPE_CHECKING:
    from ftsafety.context import Context

LooksAt = Literal["own_answers", "rows"]


def verdicts_on_rows(judge: Judge, rows: Sequence[Row], looks_at: LooksAt, context: Context) -> list[Verdict]:
    """One verdict per row, in order, through the store; questions are bare, without the wordings that the context knows."""
    bare = [unwrapped(row.question, context.wordings.values()) for row in rows]
    answers = [row.answer for row in rows] if looks_at == "rows" else context.answer([PLAIN.ask(question) for question in bare])
    return context.verdicts(judge, [Pair(question, answer) for question, answer in zip(bare, answers, strict=True)])
