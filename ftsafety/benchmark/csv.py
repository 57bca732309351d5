"""A table of your own questions, with a first line that names its columns."""

from __future__ import annotations

from dataclasses import dataclass

from ftsafety.benchmark.rows import Rows


@dataclass(kw_only=True)
class Csv(Rows):
    """Your own questions from a CSV or TSV table whose first line names its columns."""

    patterns = ("*.csv", "*.tsv")
