"""StrongREJECT's forbidden prompts, from the authors' table."""

from __future__ import annotations

from dataclasses import dataclass

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Categorised


@dataclass(kw_only=True)
class StrongReject(Categorised):
    """Forbidden prompts in six categories, chosen so that a harmful answer to them can be told from a useless one."""

    source = "Souly et al. 2024 (arXiv 2402.10260); github.com/alexandrasouly/strongreject"
    fidelity = "their prompts; their rubric is a judge"
    kind = "disallowed"
    # the small set lies beside it
    patterns = ("strongreject_dataset.csv",)

    expected: int | None = 313
    """How many there must be; null checks nothing."""

    def read(self) -> list[Question]:
        records = self.titled("category", "forbidden_prompt")
        self.expect(self._where(), len(records), self.expected)
        return [Question(self.id_of(at), record.text("forbidden_prompt"), record.text("category")) for at, record in enumerate(records, 1)]
