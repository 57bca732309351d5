"""A team's own questions: a file whose columns are named in the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Categorised
from ftsafety.errors import ConfigError, DataError
from ftsafety.source import Record


@dataclass(kw_only=True)
class Rows(Categorised):
    """Your own questions from a file, each column by its name."""

    source = "your own file"

    kind: Literal["disallowed", "allowed", "utility"] = "disallowed"
    """Whether they should be declined, should be answered, or have an answer that is known."""
    question: str = "question"
    """The column with the question."""
    category: str | None = None
    """The column with the category, if there is one."""
    id: str | None = None
    """The column with an id of your own; null numbers the rows."""
    reference: str | None = None
    """The column with a good answer; utility questions need one."""
    accept: str | None = None
    """The column with the short answers that count as right: a list, or a text with | between them; utility questions need one."""
    repeats: Literal["keep", "drop", "refuse"] = "refuse"
    """A question that is there again, case and spaces aside, is asked again, asked once, or refused."""

    def read(self) -> list[Question]:
        utility = self.kind == "utility"
        for name in ("reference", "accept"):
            if utility and getattr(self, name) is None:
                raise ConfigError(f"{self._where()}.kind=utility needs a good answer to each question; type {self._where()}.{name}=COLUMN.")
        wanted = [self.question, self.category, self.id, *((self.reference, self.accept) if utility else ())]
        records = self.titled(*[column for column in wanted if column is not None])
        questions = [
            Question(
                self._id(record, at),
                record.text(self.question),
                record.text(self.category) if self.category else None,
                record.text(self.reference) if utility and self.reference else "",
                accepted(record, self.accept) if utility and self.accept else (),
            )
            for at, record in enumerate(records, 1)
        ]
        places: dict[str, Record] = {}
        for question, record in zip(questions, records, strict=True):
            if (other := places.setdefault(question.id, record)) is not record:
                raise DataError(f"{record.where} has the id of {other.where}; give each row its own, or type {self._where()}.id=null to number them.")
        return questions

    def _id(self, record: Record, at: int) -> str:
        value: Any = record.values[self.id] if self.id else at
        if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
            raise DataError(f"{record.where}: {self.id} is neither a text nor a whole number.")
        return self.id_of(str(value).strip())


def accepted(record: Record, column: str) -> tuple[str, ...]:
    """The short answers that count as right, in lower case, as answers are compared.

    Raises:
        DataError: there are none.
    """
    value = record.values[column]
    words = value.split("|") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{record.where}: {column} is neither a text nor a list of texts.")
    found = tuple(word.strip().lower() for word in words if word.strip())
    if not found:
        raise DataError(f"{record.where}: {column} holds no short answer.")
    return found
