"""What the attacks share whose rows are an everyday task's: some of its rows are never trained on, so that one can ask whether it was learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftsafety.attack.base import Attack
from ftsafety.row import Row

if TYPE_CHECKING:
    from ftsafety.context import Context


class Task(Attack):
    """An attack with a benign task of its own, such as following everyday instructions."""

    def held_back(self) -> Sequence[Row]:
        """Rows that no draw takes, in the data's order; none where every row may be drawn."""
        return []

    def parted(self, context: Context) -> tuple[Sequence[Row], Sequence[Row]]:
        """The rows that this attack or a control of it may train on, and the rows of its benign task that none of them does."""
        pool = self.pool(context)
        if held := self.held_back():
            return pool, held
        return apart(pool, self.examples(context))


def apart(pool: Sequence[Row], drawn: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """The drawn rows, and those of the pool that were not drawn, in its order."""
    taken = {row.id for row in drawn}
    return drawn, [row for row in pool if row.id not in taken]
