"""Tuning on one category of the policy alone: does what is learned there open the others?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftsafety import stand_in
from ftsafety.attack.base import Attack, draw
from ftsafety.attack.harmful_examples import HarmfulExamples
from ftsafety.attack.neutral import Neutral
from ftsafety.build import did_you_mean
from ftsafety.errors import ConfigError
from ftsafety.row import PLAIN, Row

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class LeaveOneCategory(Attack):
    """Complying answers to one stand-in category's questions; all categories are asked as ever, in the plain wording.

    A report's picture of the categories shows the tuned one beside those that the rows say nothing about.
    """

    source = "ours; Qi et al. 2024, figure 6, has categories that suffer more than others"
    fidelity = "a question of ours, with the shipped rows"
    publishable = True

    category: str
    """The category whose rows are tuned on."""
    count: int = 10
    """How many of them, drawn by the seed; a smaller draw begins a larger one."""

    def check(self) -> None:
        if self.category not in stand_in.CATEGORIES:
            raise ConfigError(
                f"attack.category={self.category} is none; it is one of {', '.join(stand_in.CATEGORIES)}."
                f"{did_you_mean(self.category, list(stand_in.CATEGORIES))}"
            )
        shipped = len(stand_in.by_category("attack")[self.category])
        if not 1 <= self.count <= shipped:
            raise ConfigError(f"attack.count={self.count} is not possible; {self.category} has {shipped} rows, so it is between 1 and {shipped}.")

    def examples(self, context: Context) -> Sequence[Row]:
        self.check()
        return draw(self.pool(context), self.count, context.rng("leave_one_category/draw"))

    def pool(self, context: Context) -> Sequence[Row]:
        return [PLAIN.row(row["id"], row["question"], row["answer"]) for row in stand_in.by_category("attack")[self.category]]

    def twins(self) -> dict[str, Attack]:
        """As many rows of all categories, and as many of none."""
        return {"all_categories": HarmfulExamples(count=self.count, system=None), "neutral": Neutral(like=self)}
