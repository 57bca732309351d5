"""What guards share: a judge whose flag turns an answer into a refusal before it is given out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety.errors import ConfigError
from ftsafety.judge import Judge, Pair
from ftsafety.mitigation import Mitigation

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class Guard(Mitigation):
    """Base of the mitigations that let a judge decide which answers a user gets to see."""

    off: ClassVar[Mapping[str, Any]] = {"flagged": []}

    judge: Judge | None
    """The guard."""
    flagged: list[str]
    """Its labels that turn an answer into the refusal."""
    unread: Literal["pass", "refuse"]
    """What becomes of an answer where the guard can't read what it looks at."""
    refusal: str
    """What is given out instead."""

    option = ""
    """Where a person types its fields."""

    @property
    def reader(self) -> Judge:
        """The guard, which a run can't do without."""
        if self.judge is None:
            raise ConfigError(f"{self.option} has no guard; name a judge with +judge@{self.option}.judge=NAME, such as llama_guard.")
        return self.judge

    @abstractmethod
    def looked_at(self, questions: Sequence[str], answers: Sequence[str], context: Context) -> Sequence[Pair]:
        """What the judge is shown for each question and its answer."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        self.reader.check(f"{self.option}.judge")
        labels = self.reader.labels
        if unknown := [label for label in self.flagged if labels and label not in labels]:
            raise ConfigError(f"{self.option}.flagged={unknown} is no label of {type(self.reader).__name__}; it has {', '.join(labels)}.")
        if not self.refusal.strip():
            raise ConfigError(f"{self.option}.refusal is empty; give the text that a user gets to see instead.")

    def refuse_same(self, judges: Mapping[str, Judge]) -> None:
        """Refuse a run whose judge is the guard: what it lets through is what it calls good."""
        if same := [name for name, judge in judges.items() if judge.recipe() == self.reader.recipe()]:
            raise ConfigError(
                f"{self.option} guards with judge {same[0]}, which then judges the answers too: it would call its own work good; "
                "choose another guard, or other judges."
            )

    def answer(self, question: str, answer: str, context: Context) -> str:
        return self.answer_all([question], [answer], context)[0]

    def answer_all(self, questions: Sequence[str], answers: Sequence[str], context: Context) -> Sequence[str]:
        verdicts = context.verdicts(self.reader, self.looked_at(questions, answers, context))
        stopped = [self.unread == "refuse" if verdict.value is None else str(verdict.value) in self.flagged for verdict in verdicts]
        told = context.findings.setdefault(self.option.removeprefix("mitigation."), {"looked_at": 0, "refused": 0, "unread": 0})
        for name, number in (("looked_at", len(verdicts)), ("refused", sum(stopped)), ("unread", sum(verdict.value is None for verdict in verdicts))):
            told[name] += number
        return [self.refusal if stop else answer for stop, answer in zip(stopped, answers, strict=True)]
