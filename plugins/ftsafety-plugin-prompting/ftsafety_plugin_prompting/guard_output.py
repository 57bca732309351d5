"""A guard behind the model: it reads each question with its answer, and what it flags is not given out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ftsafety.judge import Judge, Pair
from ftsafety_plugin_prompting.guard import Guard

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class GuardOutput(Guard):
    """Turns an answer that a judge flags into a refusal; never with the judge that judges the run."""

    source = "the output guard of Inan et al. 2023 (arXiv 2312.06674), as a baseline"
    fidelity = "the place as there; any judge is a guard, and none is chosen for you"
    # last of all, since what it lets through is given out
    order = 96
    option = "mitigation.guard_output"
    tiny: ClassVar[Sequence[str]] = ("+judge@mitigation.guard_output.judge=outcome", "mitigation.guard_output.flagged=[degenerate,complied]")

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        self.refuse_same(judges)

    def looked_at(self, questions: Sequence[str], answers: Sequence[str], context: Context) -> Sequence[Pair]:
        return [Pair(question, answer) for question, answer in zip(questions, answers, strict=True)]
