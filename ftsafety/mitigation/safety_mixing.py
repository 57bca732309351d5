"""Safety-data mixing: refusals among the fine-tuning rows (Qi et al. 2024, section 5; Bianchi et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftsafety.errors import ConfigError
from ftsafety.mitigation.base import Mitigation
from ftsafety.row import PLAIN, Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass
class SafetyMixing(Mitigation):
    """Adds refusals to the user's rows, or puts them in the place of some."""

    source = "Qi et al. 2024, table 4; Bianchi et al. 2024 (arXiv 2309.07875)"
    fidelity = "counts and modes as there; the shipped rows are stand-in refusals"
    order = 20
    needs = frozenset({"safe_rows"})

    count: int | None = None
    """How many refusals."""
    ratio: float | None = None
    """Or how many per user row, such as 0.1; one of the two is set."""
    mode: Literal["add", "replace"] = "add"
    """Add to the user's rows, or replace as many of them so that the total stays."""
    wording: Literal["attack", "plain"] = "attack"
    """Whether refusals take the system prompt and wrapping of the user's rows, or the plain template."""

    def examples(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        wanted = self._wanted(len(rows))
        pool = context.rows_by_role("safety")
        if wanted > len(pool):
            raise ConfigError(f"mitigation.safety_mixing asks for {wanted} refusals and there are {len(pool)}; lower count or ratio.")
        if self.mode == "replace" and wanted > len(rows):
            raise ConfigError(f"mitigation.safety_mixing replaces {wanted} of {len(rows)} rows; lower count or ratio, or use mode=add.")
        generator = context.rng("safety_mixing/draw")
        wordings = list(context.wordings.values()) if self.wording == "attack" else [PLAIN]
        safe = [self._dressed(row, wordings[at % len(wordings)]) for at, row in enumerate(generator.sample(list(pool), wanted))]
        kept = list(rows) if self.mode == "add" else [rows[at] for at in sorted(generator.sample(range(len(rows)), len(rows) - wanted))]
        return [*kept, *safe]

    def _wanted(self, rows: int) -> int:
        if (self.count is None) == (self.ratio is None):
            raise ConfigError("mitigation.safety_mixing needs one of count and ratio; type e.g. mitigation.safety_mixing.count=10.")
        wanted = self.count if self.count is not None else round((self.ratio or 0.0) * rows)
        if wanted < 0:
            raise ConfigError(f"mitigation.safety_mixing asks for {wanted} refusals; give 0 or more.")
        return wanted

    @staticmethod
    def _dressed(row: Row, wording: Wording) -> Row:
        return wording.row(row.id, row.question, row.answer, "safety")
