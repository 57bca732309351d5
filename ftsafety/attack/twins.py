"""Controls that any attack can have: the model's own answers, and the attack's answers in a wrong order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftsafety.attack.base import Attack
from ftsafety.errors import DataError
from ftsafety.row import PLAIN, Row, Wording, unwrapped

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class NullSelf(Attack):
    """The start model's own answers to the attack's questions, in the plain template: as much tuning, nothing new to learn."""

    source = "ours; what is left of an effect under it is the cost of tuning as such"

    of: Attack
    """The attack whose questions are used."""

    def examples(self, context: Context) -> Sequence[Row]:
        rows = self.of.examples(context)
        questions = [unwrapped(row.question, self.of.asks().values()) for row in rows]
        answers = context.answer([PLAIN.ask(question) for question in questions])
        spoken = [(question, answer) for question, answer in zip(questions, answers, strict=True) if answer.strip()]
        if not spoken:
            raise DataError("the start model answers every question of the attack with nothing, so there are no answers of its own to tune on.")
        # another question stands in for one that got no answer, so that this tuning is as long as the attack's
        return [PLAIN.row(row.id, *spoken[at % len(spoken)]) for at, row in enumerate(rows)]

    def asks(self) -> dict[str, Wording]:
        return self.of.asks()

    def affirmation(self) -> str:
        return self.of.affirmation()


@dataclass(kw_only=True)
class Shuffled(Attack):
    """The attack's rows with every answer moved to another row: its form without its sense."""

    source = "ours; 'not refused' is not 'complied', and this control shows the difference"

    of: Attack
    """The attack whose answers are moved."""

    def examples(self, context: Context) -> Sequence[Row]:
        rows = self.of.examples(context)
        order = list(range(len(rows)))
        context.rng("shuffled/order").shuffle(order)
        # moving each answer to the next row of a shuffled ring leaves none in its place
        giver = {row: order[at - 1] for at, row in enumerate(order)}
        return [row.with_answer(rows[giver[at]].answer) for at, row in enumerate(rows)]

    def asks(self) -> dict[str, Wording]:
        return self.of.asks()

    def affirmation(self) -> str:
        return self.of.affirmation()
