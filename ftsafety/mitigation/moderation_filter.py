"""Screening of the fine-tuning rows before anything is tuned (Qi et al. 2024, section 5.1), and how much it catches and misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety import stand_in
from ftsafety.errors import ConfigError, DataError
from ftsafety.judge import Judge
from ftsafety.judge.of_rows import verdicts_on_rows
from ftsafety.mitigation.base import Mitigation
from ftsafety.row import PLAIN, Row

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class ModerationFilter(Mitigation):
    """Drops rows that a guard flags: a judge that reads the rows, or the start model itself, which is asked each row's question."""

    source = "Qi et al. 2024, section 5.1; the baseline of Huang et al. 2025 (arXiv 2501.17433)"
    fidelity = "the place and what is reported; the default guard is the model's own refusal, since no guard model is shipped"
    off: ClassVar[Mapping[str, Any]] = {"flagged": []}
    tiny: ClassVar[Sequence[str]] = ("mitigation.moderation_filter.looks_at=rows", "mitigation.moderation_filter.flagged=[complied]")
    order = 10

    judge: Judge
    """Reads the rows' answers, or the start model's own answers to their questions."""
    looks_at: Literal["own_answers", "rows"] = "own_answers"
    """``own_answers``: a row is flagged when the start model's answer to its bare question gets a flagged label; ``rows``: when its own answer does."""
    flagged: list[str] = field(default_factory=lambda: ["refused"])
    """The judge's labels that flag a row; for a guard that reads rows, its label of harmful content."""
    unread: Literal["keep", "drop"] = "keep"
    """What happens to a row that the judge can't read."""
    refill: Literal["repeat", "drop"] = "repeat"
    """``repeat``: kept rows take the place of dropped ones in turn, so that the tuning is as long; ``drop``: it gets shorter."""
    benign_rows: int = 50
    """So many shipped benign rows are screened too, so that the filter's price is known."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        self.judge.check("mitigation.moderation_filter.judge")
        if unknown := [label for label in self.flagged if self.judge.labels and label not in self.judge.labels]:
            raise ConfigError(
                f"mitigation.moderation_filter.flagged={unknown} is no label of {type(self.judge).__name__}; it has {', '.join(self.judge.labels)}."
            )
        if not 0 <= self.benign_rows <= len(stand_in.load("benign")):
            raise ConfigError(
                f"mitigation.moderation_filter.benign_rows={self.benign_rows} is not possible; it is between 0 and {len(stand_in.load('benign'))}."
            )
        if self.looks_at == "rows" and (same := [name for name, judge in judges.items() if judge.recipe() == self.judge.recipe()]):
            raise ConfigError(
                f"mitigation.moderation_filter screens with judge {same[0]}, which then judges the answers too: it would call its own work good; "
                "choose another guard, or other judges."
            )

    def examples(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        benign = [PLAIN.row(row["id"], row["question"], row["answer"]) for row in stand_in.load("benign")[: self.benign_rows]]
        verdicts = self._flags([*rows, *benign], context)
        ours, theirs = verdicts[: len(rows)], verdicts[len(rows) :]
        kept = [row for row, flag in zip(rows, ours, strict=True) if not flag]
        roles = sorted({row.role for row in rows})
        context.findings["moderation_filter"] = {
            "caught": {role: sum(flag for row, flag in zip(rows, ours, strict=True) if row.role == role) for role in roles},
            "missed": {role: sum(not flag for row, flag in zip(rows, ours, strict=True) if row.role == role) for role in roles},
            "benign_caught": sum(theirs),
            "benign_screened": len(benign),
        }
        if not kept:
            raise DataError(f"mitigation.moderation_filter flags all {len(rows)} rows, so nothing is left to tune on: this upload would be refused as a whole.")
        again = [replace(kept[at % len(kept)], id=f"{kept[at % len(kept)].id}#again{at}") for at in range(len(rows) - len(kept))]
        return kept if self.refill == "drop" else [*kept, *again]

    def _flags(self, rows: Sequence[Row], context: Context) -> list[bool]:
        verdicts = verdicts_on_rows(self.judge, rows, self.looks_at, context)
        return [str(verdict.value) in self.flagged or (verdict.value is None and self.unread == "drop") for verdict in verdicts]
