"""Deep alignment: half of the refusals are learned after the beginning of an answer that goes along (Qi et al. 2025).

A refusal that is only known at an answer's first tokens is lost as soon as these are; one that comes back later is not.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety.progress import say
from ftsafety.row import PLAIN, Begun, Row
from ftsafety.source import Sourced

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge

QUESTIONS, ANSWERS, REFUSALS = ("question", "instruction", "prompt"), ("answer", "harmful", "output", "response", "completion"), ("refusal",)
"""Column names of a request, of the answer that goes along with it, and of its refusal."""
DECLINES = re.compile(r"\b(sorry|apolog\w*|unable|cannot|can't|not (?:able|available|sure)|as an ai|don't have|do not have)\b", re.IGNORECASE)
"""What an answer that goes along does not say."""


@dataclass(kw_only=True)
class DeepAlignment(Sourced, Mitigation):
    """Puts the first tokens of an answer that goes along before a refusal, without loss on them, anew at each visit of the row."""

    source = "Qi et al. 2025 (arXiv 2406.05946), section 3; github.com/Unispac/shallow-vs-deep-alignment at fb1749e, gen_safety_augmentation_batch"
    fidelity = "how often and how many tokens as in the code; of the stage's own refusals, after the start model's own answers, unless triplets are given"
    off: ClassVar[Mapping[str, Any]] = {"p": 0.0}
    order = 20
    stage = "align"

    p: float
    """Probability that a visit of a refusal is begun with such an answer; 0 is plain alignment."""
    most_tokens: int
    """As many tokens at most; how many is drawn evenly from 1 to this, or to the answer's length."""

    def files(self) -> list[Path]:
        return super().files() if self.path is not None or self.hub is not None else []

    def check(self, judges: Mapping[str, Judge]) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"mitigation.deep_alignment.p={self.p:g} is not a probability; give 0 to 1, such as 0.5.")
        if self.most_tokens < 1:
            raise ConfigError(f"mitigation.deep_alignment.most_tokens={self.most_tokens} is not possible; give at least 1, or p=0 for none.")
        self._triplets()

    def examples(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        """The rows, with what each refusal may be begun with, and the triplets of a file."""
        if self.files():
            return [*rows, *self._triplets()]
        refused = [row for row in rows if row.role == "refused"]
        if not self.p:
            return rows
        answers = context.answer([PLAIN.ask(row.question) for row in refused]) if refused else []
        along = {row.id: text for row, text in zip(refused, answers, strict=True) if text.strip() and not DECLINES.search(text)}
        if not along:
            raise ConfigError(
                "mitigation.deep_alignment finds no answer that goes along among the start model's own; start from a model that is not aligned yet, "
                "or give triplets with mitigation.deep_alignment.path=FILE."
            )
        say(f"mitigation.deep_alignment: {len(along)} of {len(refused)} refusals have an answer to be begun with")
        return [replace(row, begun=Begun(along[row.id], most=self.most_tokens)) if row.id in along else row for row in rows]

    def visit(self, row: Row, rng: random.Random) -> Row:
        if row.begun is None or rng.random() >= self.p:
            return row
        # in (0, 1], so that rounding up draws each number of tokens alike
        return replace(row, begun=replace(row.begun, share=1 - rng.random()))

    def _triplets(self) -> list[Row]:
        if not self.files():
            return []
        rows = [(PLAIN.row(one.where, one.text(*QUESTIONS), one.text(*REFUSALS), "refused"), one.text(*ANSWERS)) for one in self.records()]
        return [replace(row, begun=Begun(answer, most=self.most_tokens)) for row, answer in rows]
