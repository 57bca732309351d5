"""The questions of the git-disl harmful score, row for row: the same name stands for different sets in their repositories.

Only the questions: the score is the share of answers that the moderation model beaver-dam-7b flags, which is a judge. The
repositories ask under Alpaca's template and cut answers at 512 tokens (Vaccine: 128), which is the attack's wording and ``decoding``.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Published
from ftsafety.errors import DataError
from ftsafety.source import Record


@dataclass(kw_only=True)
class BeavertailsHs(Published):
    """Prompts of BeaverTails' 30k test rows in file order, as the git-disl repositories take them; a prompt comes back in several rows."""

    source = "git-disl repositories, poison/evaluation/pred.py; Ji et al. 2023 (arXiv 2307.04657), PKU-Alignment/BeaverTails on the hub"
    fidelity = "the rows of Booster, Virus and Antidote; Vaccine and Lisa by fields"
    kind = "disallowed"
    patterns = ("30k/test.jsonl.gz", "30k/test.jsonl")

    unsafe_only: bool = True
    """Only rows whose published answer is labelled unsafe; Lisa takes safe and unsafe ones alike."""
    expected: int | None = 3021
    """How many rows the file must have; null checks nothing."""

    def read(self) -> list[Question]:
        records = self.titled("prompt", "is_safe")
        self.expect(self._where(), len(records), self.expected)
        rows = [(at, record) for at, record in enumerate(records, 1) if not (self.unsafe_only and labelled_safe(record))]
        return [Question(self.id_of(at), record.text("prompt")) for at, record in rows]


def labelled_safe(record: Record) -> bool:
    """The label of a row's published answer."""
    value = record.values["is_safe"]
    if not isinstance(value, bool):
        raise DataError(f"{record.where}: is_safe is neither true nor false.")
    return value
