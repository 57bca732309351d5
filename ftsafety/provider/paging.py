"""Lists in the API's form: a page after a given id, and whether there is more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftsafety.provider.errors import ApiError, shown


def page(entries: Sequence[dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    """The entries after the one with the id ``after``, ``limit`` of them at most.

    Raises:
        ApiError: a limit that is no number of entries, or an id that is not in the list.
    """
    if not 1 <= limit <= 10_000:
        raise ApiError(400, "Invalid value for 'limit': it is between 1 and 10000.", param="limit", code="invalid_value")
    start = 0
    if after is not None:
        places = [at for at, entry in enumerate(entries) if entry["id"] == after]
        if not places:
            raise ApiError(400, f"Invalid value for 'after': nothing in this list has the id '{shown(after)}'.", param="after", code="invalid_value")
        start = places[0] + 1
    chosen = list(entries[start : start + limit])
    ends = {"first_id": chosen[0]["id"], "last_id": chosen[-1]["id"]} if chosen else {"first_id": None, "last_id": None}
    return {"object": "list", "data": chosen, **ends, "has_more": start + limit < len(entries)}
