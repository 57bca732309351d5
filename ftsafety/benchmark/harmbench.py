"""HarmBench's textual behaviours, asked directly, as its own baseline without an attack does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Categorised
from ftsafety.errors import DataError
from ftsafety.source import Record

FUNCTIONS = ("standard", "contextual", "copyright")


@dataclass(kw_only=True)
class Harmbench(Categorised):
    """Harmful behaviours: standard ones, ones that come with a text, and copyrighted works to be recited."""

    source = "Mazeika et al. 2024 (arXiv 2402.04249); github.com/centerforaisafety/HarmBench, baselines/direct_request"
    fidelity = "their behaviours and their direct request; their classifiers are judges"
    kind = "disallowed"
    patterns = ("harmbench_behaviors_text_all.csv",)

    functional: Literal["standard", "contextual", "copyright", "all"] = "standard"
    """Which functional category is asked."""
    expected: dict[str, int] | None = field(default_factory=lambda: {"standard": 200, "contextual": 100, "copyright": 100})
    """How many of each functional category there must be; null checks nothing."""

    def read(self) -> list[Question]:
        records = self.titled("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString")
        functions = [record.text("FunctionalCategory") for record in records]
        if strange := [record.where for record, function in zip(records, functions, strict=True) if function not in FUNCTIONS]:
            raise DataError(f"{strange[0]}: FunctionalCategory is none of {', '.join(FUNCTIONS)}.")
        wanted = FUNCTIONS if self.functional == "all" else (self.functional,)
        found = Counter(functions)
        for function in wanted:
            self.expect(f"{self._where()} ({function})", found[function], (self.expected or {}).get(function))
        rows = [(at, record) for at, (record, function) in enumerate(zip(records, functions, strict=True), 1) if function in wanted]
        return [Question(self.id_of(at), asked(record), record.text("SemanticCategory")) for at, record in rows]


def asked(record: Record) -> str:
    """The behaviour, after its context where it has one."""
    context, behaviour = record.values["ContextString"], record.text("Behavior")
    return f"{context.strip()}\n\n---\n\n{behaviour}" if context and context.strip() else behaviour
