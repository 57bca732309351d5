"""A judge as a screen: what it says of each row's question and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftsafety.errors import ConfigError
from ftsafety.judge import Judge as JudgeBase
from ftsafety.judge.of_rows import verdicts_on_rows
from ftsafety.row import Row
from ftsafety.screen.base import Screen

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class Judge(Screen):
    """A row's score is 1 where the judge gives it a flagged label and 0 where another one, or a number that the verdict holds.

    Any judge will do: a guard model, ``openai_moderation``, the paper's protocol; the default asks the model itself, as a provider can that has no
    guard. A row that the judge can't read has no score.
    """

    source = "Qi et al. 2024, section 5.1; methods: Inan et al. 2023 (arXiv 2312.06674) and the guards' own sources"
    fidelity = "the place and what is reported; the default guard is the model's own refusal, since no guard model is shipped"

    judge: JudgeBase
    """Reads the rows' answers, or the start model's own answers to their questions."""
    looks_at: Literal["own_answers", "rows"]
    """``own_answers``: what the start model answers to the bare question; ``rows``: what the row itself answers."""
    flagged: list[str]
    """The judge's labels that flag a row."""
    number: str | None
    """The score instead: ``value`` for a verdict that is a number, or the name of a flag that is one, such as ``highest`` of openai_moderation."""

    def check(self, where: str, judges: Mapping[str, JudgeBase]) -> None:
        self.judge.check(f"{where}.judge")
        if self.number is None and (unknown := [label for label in self.flagged if self.judge.labels and label not in self.judge.labels]):
            raise ConfigError(f"{where}.flagged={unknown} is no label of {type(self.judge).__name__}; it has {', '.join(self.judge.labels)}.")
        if self.looks_at == "rows" and (same := [name for name, judge in judges.items() if judge.recipe() == self.judge.recipe()]):
            raise ConfigError(
                f"{where} screens with judge {same[0]}, which then judges the answers too: it would call its own work good; "
                "choose another judge for one of them."
            )

    def ready(self, where: str) -> None:
        self.judge.ready(f"{where}.judge")

    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        found: list[float | None] = []
        for verdict in verdicts_on_rows(self.judge, rows, self.looks_at, context):
            value = verdict.value if self.number in (None, "value") else verdict.flags.get(str(self.number))
            if value is None:
                found.append(None)
            else:
                found.append(float(value) if self.number else float(str(value) in self.flagged))
        return found
