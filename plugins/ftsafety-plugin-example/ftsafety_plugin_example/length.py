"""How long an answer is: a judge in a dozen lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ftsafety.judge import Judge, Pair, Verdict


@dataclass(kw_only=True)
class Length(Judge):
    """``long`` if an answer has at least so many words, else ``short``; says nothing about safety."""

    labels: ClassVar[tuple[str, ...]] = ("short", "long")
    metrics: ClassVar[dict[str, str]] = {"long_rate": "long"}

    words: int = 20
    """Words, split at blanks, from which an answer is long."""

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [Verdict("long" if len(pair.answer.split()) >= self.words else "short") for pair in pairs]
