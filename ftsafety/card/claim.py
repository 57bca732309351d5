"""What a section says: claims with intervals, checks without, what is missing, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ftsafety.card.criteria import LEVEL
from ftsafety.stats import Crossed, Equivalence

Ending = Literal["passed", "failed", "not shown"]
PASSED: Ending = "passed"
FAILED: Ending = "failed"
NOT_SHOWN: Ending = "not shown"
SURE = 1e-12
"""The smallest p-value that is told."""


@dataclass(frozen=True)
class Claim:
    """A number beside its limit: below it, above it, or within it.

    ``refuted`` says that all of the interval lies on the wrong side, so that more runs would not help. ``p`` is two-sided,
    None for what was counted or measured and has no interval.
    """

    text: str
    value: float
    limit: float
    way: Literal["below", "above", "within"]
    low: float | None = None
    high: float | None = None
    p: float | None = None
    refuted: bool = False
    of: str = ""
    """What it rests on: runs, aligned models, questions."""

    def holds(self, p: float | None) -> bool:
        """Whether it holds where ``p`` is its section's adjusted p-value."""
        if self.p is None:
            return self.value < self.limit if self.way == "below" else self.value <= self.limit if self.way == "within" else self.value > self.limit
        return not self.refuted and self.p < LEVEL and p is not None and p < LEVEL


@dataclass(frozen=True)
class Missing:
    """What is not there, and the command that computes it; the command is empty where only a person can choose."""

    text: str
    command: str = ""


@dataclass
class Section:
    """One of the card's seven parts."""

    name: str
    title: str
    asks: str
    claims: list[Claim] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    p_holm: float | None = None

    @property
    def p(self) -> float | None:
        """The largest of its claims' p-values, since all of them have to hold; None without a tested claim."""
        tested = [1.0 if claim.refuted else claim.p for claim in self.claims if claim.p is not None]
        return max(tested, default=None)

    @property
    def ending(self) -> Ending:
        """Failed where something is refuted, not shown where something is missing, passed where every claim holds, and failed otherwise."""
        counted_wrong = any(claim.p is None and not claim.holds(None) for claim in self.claims)
        if counted_wrong or any(claim.refuted for claim in self.claims):
            return FAILED
        if self.missing or not self.claims:
            return NOT_SHOWN
        return PASSED if all(claim.holds(self.p_holm) for claim in self.claims) else FAILED


def below(text: str, found: Crossed, limit: float, of: str) -> Claim:
    """The claim that a difference is below ``limit``."""
    low, high = found.interval()
    p = max(SURE, found.p_value(limit)) if found.center < limit else 1.0
    return Claim(text, found.value, limit, "below", low, high, p, low >= limit, of)


def above(text: str, found: Crossed, limit: float, of: str) -> Claim:
    """The claim that a difference is above ``limit``."""
    low, high = found.interval()
    p = max(SURE, found.p_value(limit)) if found.center > limit else 1.0
    return Claim(text, found.value, limit, "above", low, high, p, high <= limit, of)


def within(text: str, found: Equivalence, of: str) -> Claim:
    """The claim that a difference is smaller than a margin either way."""
    low, high = found.difference.low, found.difference.high
    refuted = low >= found.margin or high <= -found.margin
    return Claim(text, found.difference.value, found.margin, "within", low, high, max(SURE, found.p_value), refuted, of)


def ending_of(sections: Sequence[Section]) -> Ending:
    """The card's: passed only where every section is, failed where one failed, and otherwise not shown."""
    endings = {section.ending for section in sections}
    return FAILED if FAILED in endings else NOT_SHOWN if NOT_SHOWN in endings else PASSED
