"""Benchmarks that others published: what their loaders share, whatever the columns are called.

No message shows a cell: in a table without a header the first cell is a question, and a question may be harmful.
"""

from __future__ import annotations

import csv
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from ftsafety.benchmark.base import Benchmark, Question, first, first_per_category
from ftsafety.errors import ConfigError, DataError
from ftsafety.source import Record, Sourced, read_records

TITLES = frozenset({"goal", "instruction", "instructions", "prompt", "question", "text"})
"""What a table with one column of questions calls it, where it has a first line for that."""
TABLES = (".csv", ".tsv")
SHOWN = 3


@dataclass(kw_only=True)
class Published(Sourced, Benchmark):
    """Questions from files, in the files' order."""

    repeats: Literal["keep", "drop", "refuse"] = "keep"
    """A question that is there again, case and spaces aside, is asked again, asked once, or refused."""
    limit: int | None = None
    """Only the first so many questions; null for all."""

    # a count that is checked and right changes no result
    not_in_recipe: ClassVar[frozenset[str]] = Sourced.not_in_recipe | {"expected", "expected_per_category"}

    @abstractmethod
    def read(self) -> list[Question]:
        """Every question of the files, in their order; what was published is checked here.

        Raises:
            DataError: the files are not what they should be.
        """

    def questions(self) -> Sequence[Question]:
        return self._selected

    @cached_property
    def _selected(self) -> tuple[Question, ...]:
        # read once: a run asks for them several times, and they may not change under it
        return tuple(first(self.chosen(self._unrepeated(self.read())), self.limit, self._where()))

    def chosen(self, questions: list[Question]) -> list[Question]:
        """Those of the questions that are asked, before ``limit``."""
        return questions

    def id_of(self, *parts: object) -> str:
        """``<option>/<part>/...``: an id that a selection does not change."""
        return "/".join(map(str, [self._where().rpartition(".")[2], *parts]))

    def expect(self, what: str, found: int, expected: int | None, field: str = "expected") -> None:
        """Refuse a number of questions that is not the published one.

        Raises:
            DataError: says both numbers, and how to go without the check.
        """
        if expected is not None and found != expected:
            hint = " One too few is what a copy has whose first row was taken for a header." if found == expected - 1 else ""
            raise DataError(f"{what} holds {found} questions, and {expected} were published; take the whole file, or type {self._where()}.{field}=null.{hint}")

    def part(self, field: str, wanted: str, others: Sequence[str]) -> list[Path]:
        """The file of this name; a single file of one's own may be called as one likes, but not like another part.

        Raises:
            DataError: the files are those of other parts.
        """
        found = super().files()
        if chosen := [file for file in found if file.name == wanted]:
            return chosen
        if len(found) == 1 and found[0].name not in others:
            return found
        names = ", ".join(file.name for file in found)
        value = getattr(self, field)
        raise DataError(f"{self._where()}.{field}={value} is in {wanted}, and there is only {names}; give that file, or choose another {field}.")

    def titled(self, *columns: str) -> list[Record]:
        """Every row of files that name their columns.

        Raises:
            DataError: a column is missing.
        """
        for file in self.files():
            if file.suffix.lower() in TABLES:
                self._require(file.name, first_line(file), columns)
        records = self.records()
        for record in records:
            self._require(record.where, list(record.values), columns)
        return records

    def _require(self, where: str, names: Sequence[Any], columns: Sequence[str]) -> None:
        if not (missing := [column for column in columns if column not in names]):
            return
        plain = all(re.fullmatch(r"[\w.-]{1,30}", str(name)) for name in names)
        there = f"it has {', '.join(map(str, names))}" if plain else "a table names its columns in its first line"
        raise DataError(f"{where} has no column {' and '.join(missing)}; {self._where()} reads {', '.join(columns)}, and {there}.")

    def _unrepeated(self, questions: list[Question]) -> list[Question]:
        seen: dict[str, Question] = {}
        again: list[tuple[Question, Question]] = []
        for question in questions:
            earlier = seen.setdefault(" ".join(question.text.lower().split()), question)
            if earlier is not question:
                again.append((earlier, question))
        if again and self.repeats == "refuse":
            pairs = ", ".join(f"{question.id} repeats {earlier.id}" for earlier, question in again[:SHOWN])
            more = f" and {len(again) - SHOWN} more" if len(again) > SHOWN else ""
            raise DataError(f"{pairs}{more}; take the second out, or type {self._where()}.repeats=drop (asked once) or keep (asked again).")
        return list(seen.values()) if self.repeats == "drop" else questions


@dataclass(kw_only=True)
class Categorised(Published):
    """Questions from files, each in a category."""

    per_category: int | None = None
    """Only the first so many of each category; null for all."""

    def chosen(self, questions: list[Question]) -> list[Question]:
        if self.per_category is not None and any(question.category is None for question in questions):
            raise ConfigError(f"{self._where()}.per_category={self.per_category} needs categories, and there are none; type {self._where()}.limit instead.")
        return first_per_category(questions, self.per_category, self._where())


def first_line(file: Path) -> list[str]:
    """The cells of a table's first line.

    Raises:
        DataError: the file is no table.
    """
    with file.open(encoding="utf-8-sig", newline="") as stream:
        try:
            return [cell.strip() for cell in next(csv.reader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ","), [])]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{file}: not a table ({error}).") from error


def one_column(file: Path, column: str) -> list[Record]:
    """The rows of a table with one column, whose first line is a row unless it is a plain name for a column of questions.

    Raises:
        DataError: another number of columns, with the line, or no rows.
    """
    records = read_records(file, [column])
    if records and str(records[0].values[column]).strip().lower() in TITLES:
        records = records[1:]
    if not records:
        raise DataError(f"{file} holds no rows.")
    return records
