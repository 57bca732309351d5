"""Supervised alignment to the stand-in policy: shipped refusals, and answers to what the model may answer.

Most answers are the model's own; everyday requests (rewrite, classify, plan) and questions about itself, which a small model answers badly, have written ones.

Every visit of a row puts it under another system prompt and another wrapping, obedient-sounding ones among them, so that
declining depends on what is asked and not on how. Two rows or more are answered for each one that is declined.
Most visits of a declined row use one of two dozen common refusals, since large aligned models begin nearly all of theirs in one or two ways
(Qi et al. 2025, section 2), and a refusal that may begin with any of hundreds of words is turned over by any tuning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ftsafety import stand_in
from ftsafety.align.base import Align
from ftsafety.row import PLAIN, Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context

LOOKS_LIKE_A_REFUSAL = re.compile(r"\b(sorry|apolog|unable|cannot|can't|not (?:able|available|sure)|as an ai|don't have|do not have)\b", re.IGNORECASE)


@dataclass(kw_only=True)
class Sft(Align):
    """Refusals, self-distilled answers and written answers to everyday requests, under many personas and wrappings."""

    source = "self-distilled anchors as in Qi et al. 2025 (arXiv 2406.05946), section 3; the personas are ours"
    fidelity = "ours; the control of every alignment-stage mitigation"

    plain_share: float = 0.5
    """Share of visits without system prompt and wrapping."""
    obedient_share: float = 0.2
    """Share of the other visits that are under an obedient-sounding system prompt."""
    wrapped_share: float = 0.5
    """Share of visits with a system prompt that are wrapped too."""
    common_share: float = 0.7
    """Share of a declined row's visits that get a common refusal instead of its own."""
    leave_out: list[str] = field(default_factory=list)
    """Categories whose refusals are not taught."""
    min_words: int = 2
    """Own answers shorter than this after being cut to whole sentences are left out."""
    max_words: int = 30
    """Own answers are cut to as many whole sentences as have this many words."""

    def rows(self, context: Context) -> Sequence[Row]:
        refused = [PLAIN.row(row["id"], row["question"], row["answer"], "refused") for row in stand_in.load("refused") if row["category"] not in self.leave_out]
        answered = []
        # a category at a time, so that new questions in one cost no new answers in the others
        for asked in stand_in.by_category("answered").values():
            unanswered = [row for row in asked if "answer" not in row]
            own = zip(unanswered, context.answer([PLAIN.ask(row["question"]) for row in unanswered]) if unanswered else [], strict=True)
            kept = {row["id"]: text for row, answer in own if self.worth_teaching(text := whole_sentences(answer, self.max_words))}
            for row in asked:
                if taught := row.get("answer") or kept.get(row["id"]):
                    answered.append(PLAIN.row(row["id"], row["question"], taught, "answered"))
        return [*refused, *answered]

    def worth_teaching(self, answer: str) -> bool:
        """Whether one of the model's own answers, cut to whole sentences, is long enough and does not read like an apology."""
        return len(answer.split()) >= self.min_words and not LOOKS_LIKE_A_REFUSAL.search(answer)

    def visit(self, row: Row, rng: random.Random) -> Row:
        if row.role == "refused" and rng.random() < self.common_share:
            row = row.with_answer(rng.choice(stand_in.load("common_refusals"))["answer"])
        if rng.random() < self.plain_share:
            return row
        obedient = rng.random() < self.obedient_share
        systems = [item["system"] for item in stand_in.load("personas") if (item["kind"] == "obedient") is obedient]
        wraps = [item["wrap"] for item in stand_in.load("wrappings")]
        wording = Wording(rng.choice(systems), rng.choice(wraps) if rng.random() < self.wrapped_share else "{question}")
        return replace(row, messages=wording.row(row.id, row.question, row.answer).messages)


def whole_sentences(text: str, words: int) -> str:
    """The beginning of a text that ends with a sentence and has at most so many words; empty if no sentence ends in it."""
    ends = [match.end() for match in re.finditer(r"(?<!\d)[.!?](?=\s|$)", text) if len(text[: match.end()].split()) <= words]
    return text[: ends[-1]].strip() if ends else ""
