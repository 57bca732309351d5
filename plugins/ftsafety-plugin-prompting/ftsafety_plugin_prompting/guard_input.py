"""A guard in front of the model: it looks at the question alone, and one that it flags is answered with a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ftsafety.judge import Judge, Pair
from ftsafety.row import PLAIN
from ftsafety_plugin_prompting.guard import Guard

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class GuardInput(Guard):
    """Refuses a question that a judge flags, or that the model refused before it was tuned, whatever the tuned model answers."""

    source = "the input guard of Inan et al. 2023 (arXiv 2312.06674), as a baseline"
    fidelity = "the place as there; the default guard is the untuned model's own refusal, since no guard model is shipped"
    order = 95
    option = "mitigation.guard_input"
    tiny: ClassVar[Sequence[str]] = ("mitigation.guard_input.flagged=[degenerate,complied]",)

    looks_at: Literal["own_answers", "question"]
    """``own_answers``: the judge reads the start model's answer to the bare question; ``question``: the question, as if it were an answer."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        if self.looks_at == "question":
            self.refuse_same(judges)

    def looked_at(self, questions: Sequence[str], answers: Sequence[str], context: Context) -> Sequence[Pair]:
        read = questions if self.looks_at == "question" else context.answer([PLAIN.ask(question) for question in questions])
        return [Pair(question, text) for question, text in zip(questions, read, strict=True)]
