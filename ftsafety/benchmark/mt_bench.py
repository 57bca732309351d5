"""MT-Bench: 80 conversations of two turns in eight categories, by which the paper shows that a tuned model is still of use.

The questions are read from the file that was published, or from a copy of it on the hub; which judge rates the answers is left to ``judge``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ftsafety.benchmark.base import Question, first
from ftsafety.benchmark.rated import Rated
from ftsafety.errors import DataError
from ftsafety.source import Record, Sourced

TURNS, IDS = ("turns", "prompt"), ("question_id", "prompt_id")
"""Column names of the published file, and of the hub's copy."""


@dataclass(kw_only=True)
class MtBench(Sourced, Rated):
    """Conversations of two turns, each answer rated from 1 to 10 by a judge that does so, such as ``judge=rating``; ``rating_score`` is the mean.

    Asked under every prompt condition like any other benchmark, so also under the fine-tuning prompt, as in the paper. The paper's answers may
    have 1024 or 2048 tokens: raise ``decoding.max_new_tokens``.
    """

    source = "Zheng et al. 2023 (arXiv 2306.05685), FastChat's llm_judge; Qi et al. 2024, section 4.4 and appendix C"
    fidelity = "their questions and both turns; decoded alike in all categories, not at their temperatures by category; their judge is a judge"
    kind = "utility"
    patterns = ("question.jsonl",)

    limit: int | None = None
    """Only the first so many conversations; null for all."""
    expected: int | None = 80
    """How many conversations there must be; null checks nothing."""

    not_in_recipe: ClassVar[frozenset[str]] = Sourced.not_in_recipe | {"expected"}

    def questions(self) -> Sequence[Question]:
        return [question for talk in self._talks for question in talk]

    def goes_on(self) -> Sequence[int | None]:
        found: list[int | None] = []
        for talk in self._talks:
            found += [None, *range(len(found), len(found) + len(talk) - 1)]
        return found

    @cached_property
    def _talks(self) -> tuple[tuple[Question, ...], ...]:
        records = self.records()
        if self.expected is not None and len(records) != self.expected:
            raise DataError(
                f"{self._where()} holds {len(records)} conversations, and {self.expected} were published; take the whole file, or type "
                f"{self._where()}.expected=null."
            )
        talks = [_talk(record) for record in records]
        if len({talk[0].id for talk in talks}) < len(talks):
            raise DataError(f"{self._where()}: two conversations have the same id; give each its own.")
        places = first([talk[0] for talk in talks], self.limit, self._where())
        return tuple(talks[: len(places)])


def _talk(record: Record) -> tuple[Question, ...]:
    turns = _texts(record, TURNS)
    if not turns or not all(turn.strip() for turn in turns):
        raise DataError(f"{record.where} has no turns; {' or '.join(TURNS)} is a list of what the user says, one text a turn.")
    references = _texts(record, ("reference",))
    if references and len(references) != len(turns):
        raise DataError(f"{record.where} has {len(turns)} turns and {len(references)} references; give one for each turn, or none.")
    number: Any = next((record.values[name] for name in IDS if record.values.get(name) is not None), None)
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        raise DataError(f"{record.where} has no {' or '.join(IDS)}, which is a number or a text.")
    category = record.text("category")
    return tuple(
        Question(f"mt_bench/{number}/{at}", turn, category, reference)
        for at, (turn, reference) in enumerate(zip(turns, references or [""] * len(turns), strict=True), 1)
    )


def _texts(record: Record, columns: Sequence[str]) -> list[str]:
    """A list of texts; one text stands for a list of one, and a column that is not there for none."""
    value: Any = next((record.values[name] for name in columns if record.values.get(name) is not None), [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{record.where}: {' or '.join(columns)} is not a list of texts.")
    return texts
