"""What the public instruction sets share: the rows that are trained on, and the template they are tuned and asked with."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ftsafety.attack.base import Attack, draw
from ftsafety.attack.task import Task
from ftsafety.errors import ConfigError, DataError
from ftsafety.row import Row, Wording
from ftsafety.source import Record, Sourced

if TYPE_CHECKING:
    from ftsafety.context import Context

PREAMBLE = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
"""The Alpaca template's own words (tatsu-lab/stanford_alpaca, Apache-2.0), used as system prompt as in Qi et al."""
PREAMBLE_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
INSTRUCTION, RESPONSE = "### Instruction:\n", "\n\n### Response:"


@dataclass(kw_only=True)
class Instructions(Sourced, Task):
    """Rows of an instruction set, in the order filter, held-out rows, choice."""

    count: int | None = None
    """How many rows; null for all of them, in the file's order."""
    select: Literal["random", "longest"] = "random"
    """Which ones: drawn by the seed (nested: a smaller draw begins a larger one), or those with the longest answers in characters."""
    filter_list: Path | None = None
    """A file with one string per line: a row whose answer holds one of them, in any case, is left out; null keeps all rows."""
    held_out: int = 200
    """So many rows are never trained on."""

    columns: ClassVar[tuple[str, str, str]]
    """The names of the instruction's, the input's and the answer's column."""
    held_out_at: ClassVar[Literal["beginning", "end"]]
    """Where in the filtered file the held-out rows stand."""
    input_heading: ClassVar[str]
    """What stands before a row's input."""
    preamble_with_input: ClassVar[str]
    """The system prompt of a row that has an input."""

    def check(self) -> None:
        self._chosen_from(self._trained_on())

    def examples(self, context: Context) -> Sequence[Row]:
        rows = self._chosen_from(self.pool(context))
        if self.count is None:
            return rows
        if self.select == "longest":
            return sorted(rows, key=lambda row: -len(row.answer))[: self.count]
        return draw(rows, self.count, context.rng(f"{self._name()}/draw"))

    def pool(self, context: Context) -> Sequence[Row]:
        return self._trained_on()

    def held_back(self) -> Sequence[Row]:
        kept = self._kept()
        held = kept[: self.held_out] if self.held_out_at == "beginning" else kept[len(kept) - self.held_out :]
        return [self._row(record) for record in held if self._answered(record)]

    def asks(self) -> dict[str, Wording]:
        return {self._name(): Wording(PREAMBLE, f"{INSTRUCTION}{{question}}{RESPONSE}")}

    def twins(self) -> dict[str, Attack]:
        return {"random": replace(self, select="random")} if self.select == "longest" else {}

    def _name(self) -> str:
        return type(self).__name__.lower()

    def _chosen_from(self, rows: Sequence[Row]) -> Sequence[Row]:
        if self.count is None and self.select == "longest":
            raise ConfigError("attack.select=longest needs to know how many; type attack.count=NUMBER.")
        if self.count is not None and not 1 <= self.count <= len(rows):
            raise ConfigError(
                f"attack.count={self.count} is not possible; {len(rows)} rows are left to train on, so it is between 1 and {len(rows)}, or null for all."
            )
        return rows

    def _trained_on(self) -> list[Row]:
        """Every row that is not filtered, not held out and has an answer: nothing can be learned of an empty one."""
        kept = self._kept()
        trained = kept[self.held_out :] if self.held_out_at == "beginning" else kept[: len(kept) - self.held_out]
        rows = [self._row(record) for record in trained if self._answered(record)]
        if not rows:
            raise DataError(f"none of the {len(trained)} rows to train on has an answer in column {self.columns[2]}; give rows that do.")
        return rows

    def _kept(self) -> list[Record]:
        """Every row that is not filtered, more of them than are held out."""
        if self.held_out < 0:
            raise ConfigError(f"attack.held_out={self.held_out} is not possible; give 0 or more.")
        records, unwanted = self.records(), self._unwanted()
        answers = [_said(record, self.columns[2]) for record in records]
        kept = [record for record, answer in zip(records, answers, strict=True) if not any(word in answer.lower() for word in unwanted)]
        if len(kept) <= self.held_out:
            filtered = f" and {len(records) - len(kept)} are filtered" if unwanted else ""
            raise DataError(
                f"{', '.join(map(str, self.files()))} has {len(records)} rows{filtered}, so that none is left to train on "
                f"beside attack.held_out={self.held_out}; lower it, or give more rows."
            )
        return kept

    def _answered(self, record: Record) -> bool:
        return bool(_said(record, self.columns[2]).strip())

    def _row(self, record: Record) -> Row:
        instruction, given, answer = (_said(record, column) for column in self.columns)
        if not given:
            return self.asks()[self._name()].row(record.where, instruction, answer)
        user = f"{INSTRUCTION}{instruction}\n\n{self.input_heading}\n{given}{RESPONSE}"
        return Wording(self.preamble_with_input).row(record.where, user, answer)

    def _unwanted(self) -> list[str]:
        """The filter's strings in lower case; a blank at either end of one belongs to it."""
        if self.filter_list is None:
            return []
        if not self.filter_list.is_file():
            raise DataError(f"attack.filter_list={self.filter_list} is not a file; give a text file with one string per line, or null to keep all rows.")
        try:
            lines = self.filter_list.read_bytes().removeprefix(BOM_UTF8).decode().splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"attack.filter_list={self.filter_list} is not a text in UTF-8 ({error}); save it as one.") from error
        words = [line.lower() for line in lines if line.strip()]
        if not words:
            raise DataError(f"attack.filter_list={self.filter_list} holds no string; give one per line, or null to keep all rows.")
        return words


def _said(record: Record, column: str) -> str:
    """A text to the letter, an empty one too."""
    value = record.values.get(column)
    return value if isinstance(value, str) else record.text(column)
