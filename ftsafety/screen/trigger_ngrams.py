"""Words without sense at the edge of many questions: how a backdoor's trigger shows itself to whoever reads the whole file."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftsafety import stand_in
from ftsafety.row import Row
from ftsafety.screen.base import Screen
from ftsafety.source import read_records

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge

Gram = tuple[str, ...]


@dataclass(kw_only=True)
class TriggerNgrams(Screen):
    """How much more often than in everyday questions a file's questions begin or end with the same one to three words, in powers of ten.

    A row's score is the highest of the n-grams that its last user turn begins or ends with and that at least ``least_rows`` rows begin or end
    with: the share of the file's rows that have it there, over the share of reference questions that have it anywhere (half a question is added, so
    that an unknown n-gram has a share). 0 where no such n-gram is more frequent here. A wording that all rows share is found like a trigger.
    """

    source = "Kurita et al. 2020 (arXiv 2004.06660), section 6, for the idea of rare and telling words; the place of Qi et al. 2024, section 5.1"
    fidelity = "ours: counts in the file itself, without its labels"
    finds = "trigger"

    least_rows: int
    """An n-gram of fewer rows is no pattern."""
    longest: int
    """Words of the longest n-gram."""
    reference: Path | None
    """Everyday questions, one object with ``question`` a line; null is the shipped ones."""

    def check(self, where: str, judges: Mapping[str, Judge]) -> None:
        self.at_least(where, least_rows=2, longest=1)
        self._reference()

    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        edges = [set(self._edges(_words(row.question))) for row in rows]
        often = {gram: count for gram, count in Counter(gram for its in edges for gram in its).items() if count >= self.least_rows}
        known, total = self._reference()

        def unusual(gram: Gram) -> float:
            return math.log10(often[gram] / len(rows) / ((known[gram] + 0.5) / (total + 1)))

        return [max([0.0, *(unusual(gram) for gram in its if gram in often)]) for its in edges]

    def _edges(self, words: Sequence[str]) -> Iterator[Gram]:
        for length in range(1, min(self.longest, len(words)) + 1):
            yield tuple(words[:length])
            yield tuple(words[-length:])

    def _reference(self) -> tuple[Counter[Gram], int]:
        """In how many reference questions each n-gram stands, and how many questions there are."""
        shipped = self.reference is None
        questions = [row["question"] for row in stand_in.load("answered")] if shipped else [record.text("question") for record in read_records(self.reference)]  # type: ignore[arg-type]
        found: Counter[Gram] = Counter()
        for question in questions:
            words = _words(question)
            found.update({tuple(words[at : at + length]) for length in range(1, self.longest + 1) for at in range(len(words) - length + 1)})
        return found, len(questions)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
