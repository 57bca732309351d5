"""What a provider's screens do to an upload before anything is tuned: a file of which too much is flagged is refused, flagged rows may be left out.

The customer is told that the file was refused and nothing of rows, screens or shares: the totals are kept for the provider alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftsafety.errors import DataError
from ftsafety.provider.settings import Provider
from ftsafety.row import Row, Wording
from ftsafety.store.publish import publish_json

if TYPE_CHECKING:
    from ftsafety.stages import House

REFUSED = "The training file was blocked by the provider's moderation: too much of it goes against the usage policy."
SEED = 0
"""A file is screened the same whatever seed its job has, so that no seed can be looked for that passes."""


def screened_rows(provider: Provider, house: House, job: str, rows: Sequence[Row], wordings: dict[str, Wording]) -> Sequence[Row]:
    """The rows that may be tuned on.

    Raises:
        DataError: the file is refused.
    """
    if not provider.screens:
        return rows
    from ftsafety.screen import screened
    from ftsafety.stages import tuning_context

    # the base model reads, and not a fine-tuned one that the job may begin with
    context = tuning_context(house, house.loader.weights(provider.model), SEED, [], wordings)
    found = {name: screened(screen, rows, context) for name, screen in sorted(provider.screens.items())}
    flagged = [any(flags) for flags in zip(*[one.flags for one in found.values()], strict=True)]
    refused = any(one.share > provider.screening.most for one in found.values())
    kept = [row for row, flag in zip(rows, flagged, strict=True) if not flag] if provider.screening.drop else list(rows)
    told = {"screens": {name: one.totals() for name, one in found.items()}, "flagged_by_any": sum(flagged), "refused": refused, "kept": len(kept)}
    publish_json(provider.folder / "screenings" / f"{job}.json", told)
    if refused or len(kept) < min(len(rows), provider.limits.examples):
        raise DataError(REFUSED)
    return kept
