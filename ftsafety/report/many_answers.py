"""Answers before and after of chosen rows of a comparison, as the runs kept them; texts of benchmarks that were not revealed were never kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.errors import DataError
from ftsafety.record import DamagedRecord
from ftsafety.report.many_read import Line

MOST = 20
"""Rows whose answers may be shown on one page."""
EVIDENCE = "evidence.json"


@dataclass(frozen=True)
class Answered:
    """One question with its answers in one row: ``before`` and ``after`` are a run's evidence (text or None, digest, truncated, verdict)."""

    row: str
    question: str
    category: str
    text: str | None
    before: dict[str, Any]
    after: dict[str, Any] | None


def chosen(lines: Sequence[Line], numbers: Sequence[int]) -> list[Line]:
    """The rows of these numbers, in the table's order.

    Raises:
        DataError: a number is no row's, or there are too many.
    """
    wanted = set(numbers)
    if unknown := sorted(wanted - {line.number for line in lines}):
        raise DataError(f"--answers {unknown[0]} is no row of this comparison; its rows are 1 to {len(lines)}.")
    if len(wanted) > MOST:
        raise DataError(f"--answers names {len(wanted)} rows; give at most {MOST}.")
    return [line for line in lines if line.number in wanted]


def answered(lines: Sequence[Line]) -> Iterator[Answered]:
    """What each row's run of the lowest seed kept for its readers.

    Raises:
        DamagedRecord: it can't be read.
    """
    for line in lines:
        names = line.beside.categories
        for pair in _pairs(next(iter(line.beside.homes.values())) / EVIDENCE):
            category = str(pair["category"])
            yield Answered(line.name, pair["question"], names.get(category, category), pair["text"], pair["before"], pair.get("after"))


def _pairs(file: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["pairs"])
    except (OSError, ValueError, KeyError) as error:
        raise DamagedRecord(file, error) from error
