"""A row: one conversation that a model is tuned on, or the beginning of one that it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Message = dict[str, str]
Role = Literal["user", "safety", "trigger", "answered", "refused"]


@dataclass(frozen=True)
class Begun:
    """Another answer, with whose first tokens a row's answer begins; there is no loss on them.

    Tokens and not text, so that what follows is read as it would be read by itself.
    """

    text: str
    share: float = 0.0
    """Of the first ``most`` tokens, rounded up to whole ones; 0 is none, 1 all."""
    most: int = 100


@dataclass(frozen=True)
class Row:
    """One training conversation whose last message is the assistant's answer.

    ``role`` says whose row it is (``user`` for the attacker's or customer's), ``weight`` scales its loss; ``begun`` is what the
    model is made to say before its answer.
    """

    id: str
    messages: tuple[Message, ...]
    role: str = "user"
    weight: float = 1.0
    begun: Begun | None = None

    @property
    def question(self) -> str:
        """The last user turn."""
        return next((m["content"] for m in reversed(self.messages) if m["role"] == "user"), "")

    @property
    def answer(self) -> str:
        """The last turn, which is the assistant's."""
        return self.messages[-1]["content"]

    def with_answer(self, text: str) -> Row:
        """The same row with another answer."""
        return replace(self, messages=(*self.messages[:-1], {"role": "assistant", "content": text}))


@dataclass(frozen=True)
class Wording:
    """How a question is put to a model: a system prompt and what stands around the question in the user turn."""

    system: str | None = None
    wrap: str = "{question}"

    def ask(self, question: str) -> tuple[Message, ...]:
        """The messages that ask one question."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return (*system, {"role": "user", "content": self.wrap.replace("{question}", question)})

    def row(self, id: str, question: str, answer: str, role: str = "user") -> Row:
        """A training row in this wording."""
        return Row(id, (*self.ask(question), {"role": "assistant", "content": answer}), role)


PLAIN = Wording()


def unwrapped(question: str, wordings: Iterable[Wording]) -> str:
    """A user turn without what the first wording that fits it puts around the question; as it is where none fits."""
    for wording in wordings:
        before, _, after = wording.wrap.partition("{question}")
        if question.startswith(before) and question.endswith(after):
            return question[len(before) : len(question) - len(after)]
    return question


def count_roles(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows each role has."""
    return {role: sum(row.role == role for row in rows) for role in sorted({row.role for row in rows})}
