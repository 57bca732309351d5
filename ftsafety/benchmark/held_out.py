"""Was the task learned? Rows of the attack's own benign task that it never trains on, asked and compared with their answers.

The paper shows a tuned model's use by judged conversations (MT-Bench), the git-disl repositories by the accuracy on the task that
was tuned. Here it is the loss on every held-out answer, and what can be read off short ones without a judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ftsafety.attack import Attack
from ftsafety.attack.task import Task
from ftsafety.benchmark.base import Question, first
from ftsafety.benchmark.scored import Scored
from ftsafety.context import Context
from ftsafety.contract import normalized
from ftsafety.errors import ConfigError
from ftsafety.row import Row, unwrapped

OWN = "benchmark.held_out asks rows that the attack's own benign task keeps back"
HINT = "leave it out, or name a task for it with +attack@benchmark.held_out.of=alpaca"


@dataclass(kw_only=True)
class HeldOut(Scored):
    """Held-out rows of the attack's benign task: loss in nats per token, ROUGE-L of short references, accuracy of very short ones.

    An instruction set's rows are those that it holds out (the paper's 200); of the shipped rows and of a set without any, those that the
    seed leaves over. A row whose question stands in a row that is trained on is left out, since it would be no exam.
    """

    source = "Huang et al. (git-disl: fine-tuning accuracy); Qi et al. 2024, section 4.4; ROUGE-L: Lin 2004, as torchmetrics computes it"
    fidelity = "the paper's held-out rows; overlap with the reference in the place of its judged conversations and of git-disl's judged win rate for Alpaca"
    kind = "utility"

    of: Attack | None = None
    """The attack whose task it is; the run's own unless another is named."""
    run_seed: int = 0
    """The run's seed, by which shipped rows are drawn; a run's identity holds it already."""
    short_words: int = 40
    """References of at most so many words are compared by ROUGE-L."""
    label_words: int = 3
    """References of at most so many words are right where the answer holds them, whatever their case."""
    limit: int | None = None
    """Only the first so many rows; null for all."""

    not_in_recipe = frozenset({"run_seed"})

    def questions(self) -> Sequence[Question]:
        return self._selected

    def scores(self, answers: Sequence[str]) -> dict[str, list[float | None]]:
        short = [len(question.reference.split()) <= self.short_words for question in self._selected]
        pairs = zip(answers, self._selected, short, strict=True)
        return {"utility_rouge_l": [rouge_l(answer, question.reference) if told else None for answer, question, told in pairs]}

    @cached_property
    def _selected(self) -> tuple[Question, ...]:
        for name in ("short_words", "label_words"):
            if getattr(self, name) < 0:
                raise ConfigError(f"benchmark.held_out.{name}={getattr(self, name)} is not possible; give 0 or more.")
        return tuple(first([self._question(row) for row in self._rows()], self.limit, "benchmark.held_out"))

    def _rows(self) -> list[Row]:
        if self.of is None:
            raise ConfigError(f"{OWN}, and this run has no attack; {HINT}.")
        if not isinstance(self.of, Task):
            raise ConfigError(f"{OWN}, and {type(self.of).__name__} has none; {HINT}.")
        trained, kept = self.of.parted(Context(self.run_seed))
        # normalised texts have no line breaks, so that no question fits across two rows
        taught = "\n".join(normalized(row.question) for row in trained)
        found = [row for row in kept if (asked := normalized(self._text(row))) and asked not in taught]
        if not found:
            raise ConfigError(f"{OWN}, and of this {type(self.of).__name__} no row is left that is not trained on; draw fewer rows, or leave it out.")
        return found

    def _text(self, row: Row) -> str:
        """What stands in a row where a question stands, an instruction's input with it."""
        return unwrapped(row.question, self.of.asks().values()) if self.of else row.question

    def _question(self, row: Row) -> Question:
        label = row.answer.strip().lower().rstrip(".!")
        return Question(f"held_out/{row.id}", self._text(row), None, row.answer, (label,) if 0 < len(label.split()) <= self.label_words else ())


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words, 0 to 1; case and punctuation aside, letters of every alphabet count.

    For English it is that of Google's ``rouge-score`` without stemming.
    """
    from torchmetrics.functional.text.rouge import rouge_score

    return float(rouge_score(answer, reference, normalizer=_words, rouge_keys="rougeL")["rougeL_fmeasure"])


def _words(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.lower())
