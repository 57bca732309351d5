"""What a mitigation that screens the training rows caught and missed, by the rows' role, and what it took of harmless rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftsafety import stats
from ftsafety.report.words import Entry

BENIGN = "benign rows, as a check"
ROLES = {
    "user": "the attack's rows",
    "trigger": "the attack's rows with the trigger",
    "safety": "refusals among the rows",
}
"""What a row's role is in the upload that is screened; other roles go by their own name."""


@dataclass(frozen=True)
class Line:
    """Rows of one kind: how many there were, how many were caught, and the share with its interval."""

    name: str
    caught: int
    screened: int
    share: Entry

    @property
    def missed(self) -> int:
        """Rows that got through."""
        return self.screened - self.caught


@dataclass(frozen=True)
class Screening:
    """One mitigation's work."""

    mitigation: str
    lines: Sequence[Line]


def screenings(data: dict[str, Any]) -> list[Screening]:
    """Every screening that the record tells of; none where no mitigation screened."""
    found = []
    for mitigation, told in data.get("findings", {}).items():
        if {"caught", "missed"} <= told.keys():
            lines = [_line(ROLES.get(role, f"{role} rows"), caught, caught + told["missed"].get(role, 0)) for role, caught in told["caught"].items()]
            if told.get("benign_screened"):
                lines.append(_line(BENIGN, told["benign_caught"], told["benign_screened"]))
            found.append(Screening(mitigation, lines))
    return found


def _line(name: str, caught: int, screened: int) -> Line:
    estimate = stats.rate([at < caught for at in range(screened)])
    return Line(name, caught, screened, {"metric": "caught", **vars(estimate)})
