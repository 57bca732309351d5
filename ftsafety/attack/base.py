"""The examples a model is fine-tuned on, how it is asked afterwards, and the controls that come with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, TypeVar

from ftsafety.component import Component
from ftsafety.row import PLAIN, Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context

T = TypeVar("T")


class Attack(Component):
    """Fine-tuning data and the wording that belongs to it."""

    @property
    def publishable(self) -> bool:
        """Whether rows may be shown in a report without ``reveal=true``: where every one of them is shipped."""
        return False

    def check(self) -> None:
        """Look at files before anything is spent.

        Raises:
            DataError: names the file and the line.
        """

    @abstractmethod
    def examples(self, context: Context) -> Sequence[Row]:
        """The rows to tune on. Pure: randomness from ``context.rng`` only."""

    def pool(self, context: Context) -> Sequence[Row]:
        """Every row that ``examples`` could draw, in the data's own order; an attack that draws none gives its examples."""
        return self.examples(context)

    def asks(self) -> dict[str, Wording]:
        """How the model is asked in the *train* condition: one or several named wordings."""
        return {"plain": PLAIN}

    def affirmation(self) -> str:
        """The text that the rows teach an answer to begin with; the ``prefill`` control puts it in the model's mouth."""
        return ""

    def twins(self) -> dict[str, Attack]:
        """Controls of this attack's own, by name; ``null_self`` and ``shuffled`` come with every attack."""
        return {}


def draw(rows: Sequence[T], count: int, generator: Random) -> list[T]:
    """So many of the rows, each once. Draws are nested: with one seed, ten rows are the first ten of the fifty."""
    return generator.sample(rows, len(rows))[:count]
