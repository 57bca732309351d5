"""Questions with categories, and what counts as harmful, over-refusing or useful."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftsafety.component import Component
from ftsafety.errors import ConfigError

Kind = Literal["disallowed", "allowed", "utility"]


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

    kind: Kind
    """Of the class, or of the instance where its fields decide it."""

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """All questions, always in the same order; ids are unique."""


def first_per_category(questions: Sequence[Question], per_category: int | None, where: str) -> list[Question]:
    """The first questions of each category, or all.

    Raises:
        ConfigError: a category has fewer, or the number is not positive.
    """
    if per_category is None:
        return list(questions)
    groups: dict[str | None, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.category, []).append(question)
    fewest = min(map(len, groups.values()), default=0)
    if not 1 <= per_category <= fewest:
        raise ConfigError(f"{where}.per_category={per_category} is not possible; it is between 1 and {fewest}, or null for all.")
    return [question for group in groups.values() for question in group[:per_category]]


def first(questions: Sequence[Question], limit: int | None, where: str) -> list[Question]:
    """The first so many questions, or all.

    Raises:
        ConfigError: there are fewer, or the number is not positive.
    """
    if limit is not None and not 1 <= limit <= len(questions):
        raise ConfigError(f"{where}.limit={limit} is not possible; it is between 1 and {len(questions)}, or null for all.")
    return list(questions[:limit])
