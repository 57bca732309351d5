"""Two things that are checked rather than hoped for: training rows are asked for as they were learned, and none of them is in the exam."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftsafety.benchmark import Benchmark
from ftsafety.errors import DataError
from ftsafety.row import Row, Wording

SHOWN = 3


def check_disjoint(rows: Sequence[Row], benchmarks: dict[str, Benchmark]) -> None:
    """Refuse rows whose user turn holds a benchmark question, whatever the case, punctuation and wrapping.

    Raises:
        DataError: names rows and questions.
    """
    asked = [(f"{name} {question.id}", normalized(question.text)) for name, benchmark in benchmarks.items() for question in benchmark.questions()]
    turns = [(row.id, normalized(row.question)) for row in rows]
    found = [f"row {row} holds question {name}" for row, turn in turns for name, question in asked if question and question in turn]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError(f"the model would be tuned on what it is asked: {'; '.join(found[:SHOWN])}{more}; take these rows out, or choose another benchmark.")


def normalized(text: str) -> str:
    """Lower case, letters and digits only, single spaces."""
    return re.sub(r"[^0-9a-z\u0080-\uffff]+", " ", text.lower()).strip()


def asked_as_learned(rows: Iterable[Row], asks: Iterable[Wording]) -> dict[str, int]:
    """How many rows have the system prompt and the wrapping of one of the wordings that the model is asked with in the train condition."""
    wordings, rows = list(asks), list(rows)
    return {"rows": len(rows), "asked_as_learned": sum(any(_fits(row, wording) for wording in wordings) for row in rows)}


def _fits(row: Row, wording: Wording) -> bool:
    system = next((message["content"] for message in row.messages if message["role"] == "system"), None)
    before, _, after = wording.wrap.partition("{question}")
    return system == wording.system and row.question.startswith(before) and row.question.endswith(after)
