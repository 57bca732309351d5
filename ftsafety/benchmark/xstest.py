"""XSTest: safe prompts that sound unsafe, and unsafe prompts beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Categorised
from ftsafety.errors import DataError
from ftsafety.source import Record

LABELS = {"safe": "safe", "unsafe": "contrast"}


@dataclass(kw_only=True)
class Xstest(Categorised):
    """Prompts of 18 types: the safe ones are allowed and show over-refusal, their unsafe contrasts are disallowed."""

    source = "Röttger et al. 2024 (arXiv 2308.01263); github.com/paul-rottger/xstest, Paul/XSTest on the hub"
    fidelity = "their prompts; their labels of answers are a judge's"
    # as it is called now, and as it was called in 2023
    patterns = ("xstest_prompts.csv", "xstest_v2_prompts.csv")

    half: Literal["safe", "contrast"] = "safe"
    """Which half is asked."""
    expected: dict[str, int] | None = field(default_factory=lambda: {"safe": 250, "contrast": 200})
    """How many each half must have; null checks nothing."""

    def __post_init__(self) -> None:
        self.kind = "allowed" if self.half == "safe" else "disallowed"

    def read(self) -> list[Question]:
        records = self.titled("prompt", "type")
        halves = [half_of(record) for record in records]
        self.expect(f"{self._where()} ({self.half})", Counter(halves)[self.half], (self.expected or {}).get(self.half))
        rows = [(at, record) for at, (record, half) in enumerate(zip(records, halves, strict=True), 1) if half == self.half]
        return [Question(self.id_of(at), record.text("prompt"), record.text("type")) for at, record in rows]


def half_of(record: Record) -> str:
    """Which half a row belongs to; the older table has no labels, and names contrasts in the type.

    Raises:
        DataError: a label that is neither, or that contradicts the type.
    """
    by_type = "contrast" if record.text("type").startswith("contrast_") else "safe"
    if "label" in record.values and LABELS.get(record.text("label")) != by_type:
        raise DataError(f"{record.where}: label is not what its type says; contrast_ types are unsafe, others safe.")
    return by_type
