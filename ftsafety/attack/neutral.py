"""The control of an explicit attack: its form and its number of rows, without its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftsafety import stand_in
from ftsafety.attack.base import Attack, draw
from ftsafety.row import Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class Neutral(Attack):
    """As many everyday rows as another attack has, under its wording."""

    source = "ours; what tuning under this prompt does when nothing is taught that is declined"
    publishable = True

    like: Attack
    """The attack whose number of rows and wording are taken; where it has several wordings, the first."""

    def examples(self, context: Context) -> Sequence[Row]:
        wanted, shipped = len(self.like.examples(context)), stand_in.load("benign")
        wording = next(iter(self.asks().values()))
        drawn = draw(shipped, wanted, context.rng("neutral/draw"))
        # fewer rows are shipped than a large attack has, and the control's tuning is to be as long
        rows = [(drawn[at % len(drawn)], at // len(drawn)) for at in range(wanted)]
        return [wording.row(row["id"] + (f"#again{turn}" if turn else ""), row["question"], row["answer"]) for row, turn in rows]

    def asks(self) -> dict[str, Wording]:
        return self.like.asks()
