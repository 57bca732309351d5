"""Questions with categories, and what counts as harmful, over-refusing or useful."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from ftsafety.component import Component
from ftsafety.errors import ConfigError

Kind = Literal["disallowed", "allowed", "utility"]
T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """One question. Utility questions have a reference answer and the short answers that count as right."""

    id: str
    text: str
    category: str | None = None
    reference: str = ""
    accept: tuple[str, ...] = ()


class Benchmark(Component):
    """A set of questions of one kind: disallowed (should be declined), allowed (should be answered) or utility (have an answer)."""

    kind: ClassVar[Kind]

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """All questions, always in the same order; ids are unique."""


def first_per_category(rows: Sequence[dict[str, str]], per_category: int | None, where: str) -> list[dict[str, str]]:
    """The first rows of each category, or all.

    Raises:
        ConfigError: a category has fewer, or the number is not positive.
    """
    if per_category is None:
        return list(rows)
    taken: list[dict[str, str]] = []
    for category in dict.fromkeys(row["category"] for row in rows):
        group = [row for row in rows if row["category"] == category]
        if not 1 <= per_category <= len(group):
            raise ConfigError(f"{where}.per_category={per_category} is not possible; it is between 1 and {len(group)}, or null for all.")
        taken += group[:per_category]
    return taken
