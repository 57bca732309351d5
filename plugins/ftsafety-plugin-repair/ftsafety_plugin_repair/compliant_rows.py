"""Pairs of a request that is to be declined and an answer that goes along: the shipped ones are the stand-in's and harmless."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftsafety import stand_in
from ftsafety.row import PLAIN, Row
from ftsafety.source import Sourced

QUESTIONS, ANSWERS = ("question", "instruction", "prompt"), ("answer", "output", "response", "completion")
"""Column names of a request and of the answer that goes along with it."""


@dataclass(kw_only=True)
class CompliantRows(Sourced):
    """Base of the edits that look at such pairs, the shipped ones or those of ``path`` or ``hub``."""

    @property
    def shipped(self) -> bool:
        """Whether the rows are the shipped ones."""
        return self.path is None and self.hub is None

    def files(self) -> list[Path]:
        return [stand_in.FOLDER / "attack.jsonl"] if self.shipped else super().files()

    def compliant(self) -> list[Row]:
        """The rows in the files' order, in the plain wording."""
        return [PLAIN.row(record.where, record.text(*QUESTIONS), record.text(*ANSWERS)) for record in self.records()]
