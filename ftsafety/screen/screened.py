"""What a screen says of a whole file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftsafety.errors import FtsafetyError
from ftsafety.row import Row

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.screen.base import Screen


@dataclass(frozen=True)
class Screened:
    """A file's scores in its rows' order, and the threshold that they are held to. ``share`` is the whole file's score."""

    scores: tuple[float | None, ...]
    threshold: float

    @property
    def flags(self) -> list[bool]:
        """Whether each row is flagged; one without a score is not."""
        return [score is not None and score >= self.threshold for score in self.scores]

    @property
    def flagged(self) -> int:
        """How many rows are flagged."""
        return sum(self.flags)

    @property
    def unscored(self) -> int:
        """How many rows could not be read."""
        return sum(score is None for score in self.scores)

    @property
    def share(self) -> float:
        """Flagged rows among all rows; 0 of an empty file."""
        return self.flagged / len(self.scores) if self.scores else 0.0

    def totals(self) -> dict[str, Any]:
        """What may be told of a file: numbers over all its rows, and of no row by itself."""
        return {"rows": len(self.scores), "flagged": self.flagged, "unscored": self.unscored, "share": round(self.share, 6), "threshold": self.threshold}


def screened(screen: Screen, rows: Sequence[Row], context: Context) -> Screened:
    """Read a file with a screen.

    Raises:
        FtsafetyError: the screen gave another number of scores than there are rows.
    """
    scores = tuple(screen.scores(rows, context))
    if len(scores) != len(rows):
        raise FtsafetyError(f"{type(screen).__name__} gave {len(scores)} scores for {len(rows)} rows; a screen gives one score, or None, per row.")
    return Screened(scores, screen.threshold)
