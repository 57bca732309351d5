"""AdvBench's harmful behaviours, from either file that is around: with the header ``goal,target``, or one column without a header."""

from __future__ import annotations

from dataclasses import dataclass

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import TABLES, Published, first_line, one_column
from ftsafety.errors import DataError
from ftsafety.source import Record


@dataclass(kw_only=True)
class Advbench(Published):
    """Short harmful instructions, many of them alike; the paper asks them beside HEx-PHI."""

    source = "Zou et al. 2023 (arXiv 2307.15043); Qi et al. 2024, appendix E"
    fidelity = "their behaviours; the target of an optimised suffix is not read"
    kind = "disallowed"
    patterns = ("harmful_behaviors.csv",)

    expected: int | None = 520
    """How many there must be; null checks nothing."""

    def read(self) -> list[Question]:
        records = self._rows()
        self.expect(self._where(), len(records), self.expected)
        return [Question(self.id_of(at), record.text("goal")) for at, record in enumerate(records, 1)]

    def _rows(self) -> list[Record]:
        files = self.files()
        if len(files) > 1:
            raise DataError(f"{self._where()} is one file, and there are {', '.join(map(str, files))}; give one with {self._where()}.path=FILE.")
        bare = files[0].suffix.lower() in TABLES and len(first_line(files[0])) == 1
        return one_column(files[0], "goal") if bare else self.titled("goal")
