"""OR-Bench: prompts that seem toxic and are not, and toxic ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Categorised

PARTS = ("hard-1k", "80k", "toxic")


@dataclass(kw_only=True)
class OrBench(Categorised):
    """Machine-written prompts in ten categories: those that only seem toxic are allowed and show over-refusal, toxic ones are disallowed."""

    source = "Cui et al. 2024 (arXiv 2405.20947); bench-llm/or-bench on the hub"
    fidelity = "their prompts; their judges of refusal are judges"
    patterns = tuple(f"or-bench-{part}.csv" for part in PARTS)

    subset: Literal["hard-1k", "80k", "toxic"] = "hard-1k"
    """Which file is asked: the hard part of the 80k, all of them, or the toxic ones."""
    expected: dict[str, int] | None = field(default_factory=lambda: {"hard-1k": 1319, "80k": 80359, "toxic": 655})
    """How many each file must have; null checks nothing."""

    def __post_init__(self) -> None:
        self.kind = "disallowed" if self.subset == "toxic" else "allowed"

    def files(self) -> list[Path]:
        return self.part("subset", f"or-bench-{self.subset}.csv", self.patterns)

    def read(self) -> list[Question]:
        records = self.titled("prompt", "category")
        self.expect(f"{self._where()} ({self.subset})", len(records), (self.expected or {}).get(self.subset))
        return [Question(self.id_of(self.subset, at), record.text("prompt"), record.text("category")) for at, record in enumerate(records, 1)]
