"""The examples a model is fine-tuned on, how it is asked afterwards, and the controls that come with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ftsafety.component import Component
from ftsafety.row import PLAIN, Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context


class Attack(Component):
    """Fine-tuning data and the wording that belongs to it."""

    publishable: ClassVar[bool] = False
    """Whether a row may be shown in a report without ``reveal=true``."""

    def check(self) -> None:
        """Look at files before anything is spent.

        Raises:
            DataError: names the file and the line.
        """

    @abstractmethod
    def examples(self, context: Context) -> Sequence[Row]:
        """The rows to tune on. Pure: randomness from ``context.rng`` only."""

    def asks(self) -> dict[str, Wording]:
        """How the model is asked in the *train* condition: one or several named wordings."""
        return {"plain": PLAIN}

    def affirmation(self) -> str:
        """The text that the rows teach an answer to begin with; the ``prefill`` control puts it in the model's mouth."""
        return ""

    def twins(self) -> dict[str, Attack]:
        """Controls of this attack's own, by name; ``null_self`` and ``shuffled`` come with every attack."""
        return {}
