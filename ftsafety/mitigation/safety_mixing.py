"""Safety-data mixing: refusals among the fine-tuning rows (Qi et al. 2024, section 5; Bianchi et al. 2024).

The shipped refusals are the stand-in's and harmless. Those of Bianchi et al. are read from their own file, whose columns are
``instruction``, ``input`` and ``output``, and none of their rows is in this repository.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety import stand_in
from ftsafety.errors import ConfigError
from ftsafety.mitigation.base import Mitigation
from ftsafety.row import PLAIN, Row, Wording
from ftsafety.source import Record, Sourced

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge

QUESTIONS, ANSWERS = ("instruction", "question", "prompt"), ("output", "answer", "response", "completion")
"""Column names of a question and of the refusal that answers it."""
REFUSALS_ONLY = "safety_only_data_Instructions.json"
"""The file of Bianchi et al. without everyday rows; those beside it mix both."""


@dataclass(kw_only=True)
class SafetyMixing(Sourced, Mitigation):
    """Adds refusals to the user's rows, or puts them in the place of some."""

    source = "Qi et al. 2024, table 4; Bianchi et al. 2024 (arXiv 2309.07875)"
    fidelity = "counts and modes as there; the shipped rows are stand-in refusals, theirs come from their own file"
    off: ClassVar[Mapping[str, Any]] = {"count": 0, "ratio": None}
    order = 20
    needs = frozenset({"safe_rows"})

    count: int | None = None
    """How many refusals."""
    ratio: float | None = None
    """Or how many per user row, such as 0.1; one of the two is set."""
    mode: Literal["add", "replace"] = "add"
    """Add to the user's rows, or replace as many of them so that the total stays."""
    wording: Literal["attack", "plain"] = "attack"
    """Whether refusals take the system prompt and wrapping of the user's rows, or the plain template."""

    @property
    def shipped(self) -> bool:
        """Whether the refusals are the shipped ones."""
        return self.path is None and self.hub is None

    def files(self) -> list[Path]:
        if self.shipped:
            return [stand_in.FOLDER / "refused.jsonl"]
        found = super().files()
        return [file for file in found if file.name == REFUSALS_ONLY] or found

    def check(self, judges: Mapping[str, Judge]) -> None:
        # a ratio's number is not known before the attack's rows are
        wanted = self._number(0)
        if not self.shipped:
            self._pooled(self._own_rows(), wanted)

    def examples(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        wanted = self._number(len(rows))
        pool = self._pooled(context.rows_by_role("safety") if self.shipped else self._own_rows(), wanted)
        if self.mode == "replace" and wanted > len(rows):
            raise ConfigError(f"{self._where()} replaces {wanted} of {len(rows)} rows; lower count or ratio, or use mode=add.")
        generator = context.rng("safety_mixing/draw")
        wordings = list(context.wordings.values()) if self.wording == "attack" else [PLAIN]
        safe = [self._dressed(row, wordings[at % len(wordings)]) for at, row in enumerate(generator.sample(list(pool), wanted))]
        kept = list(rows) if self.mode == "add" else [rows[at] for at in sorted(generator.sample(range(len(rows)), len(rows) - wanted))]
        return [*kept, *safe]

    def _own_rows(self) -> list[Row]:
        return [PLAIN.row(record.where, _question(record), record.text(*ANSWERS), "safety") for record in self.records()]

    def _pooled(self, pool: Sequence[Row], wanted: int) -> Sequence[Row]:
        if wanted > len(pool):
            raise ConfigError(f"{self._where()} asks for {wanted} refusals and there are {len(pool)}; lower count or ratio.")
        return pool

    def _number(self, rows: int) -> int:
        if (self.count is None) == (self.ratio is None):
            raise ConfigError(f"{self._where()} needs one of count and ratio; type e.g. {self._where()}.count=10.")
        wanted = self.count if self.count is not None else round((self.ratio or 0.0) * rows)
        if wanted < 0:
            raise ConfigError(f"{self._where()} asks for {wanted} refusals; give 0 or more.")
        return wanted

    @staticmethod
    def _dressed(row: Row, wording: Wording) -> Row:
        return wording.row(row.id, row.question, row.answer, "safety")


def _question(record: Record) -> str:
    """The question; an input, where the row has one, stands below it."""
    given = record.values.get("input")
    question = record.text(*QUESTIONS)
    return f"{question}\n\n{given.strip()}" if isinstance(given, str) and given.strip() else question
