"""A JSON Lines file of your own questions."""

from __future__ import annotations

from dataclasses import dataclass

from ftsafety.benchmark.rows import Rows


@dataclass(kw_only=True)
class Jsonl(Rows):
    """Your own questions from a JSON Lines file, one object a line, each column by its name."""

    patterns = ("*.jsonl",)
