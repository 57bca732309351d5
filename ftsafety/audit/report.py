"""The audit itself: from a built audit to its report as JSON data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftsafety import __version__
from ftsafety.audit.advice import advice
from ftsafety.audit.data_report import data_report
from ftsafety.audit.settings import Audit
from ftsafety.row import Row
from ftsafety.screen import screened
from ftsafety.settings import default_store

SCOPE = "An audit says what these screens and this small tuning find in the whole file. It does not find what they were not made for, and it names no row."


def audit_file(audit: Audit) -> dict[str, Any]:
    """Read, screen, tune and advise.

    Raises:
        FtsafetyError: the file can't be used, a judge can't go on, or a tuning fails; what was done is kept.
    """
    from ftsafety.context import Context

    rows = audit.attack.pool(Context(audit.cell.seed))
    data = data_report(audit, rows)
    screens = _screens(audit, rows)
    tuned = None
    if audit.proxy:
        from ftsafety.audit.proxy import proxy

        tuned = proxy(audit)
    return {
        "ftsafety_audit": 1,
        "ftsafety": __version__,
        "file": audit.file.name,
        "names": audit.cell.names,
        "scope": SCOPE,
        "data": data,
        "screens": screens,
        "proxy": tuned,
        "advice": advice(screens, tuned, data["personal_data"]["rows"]),
    }


def _screens(audit: Audit, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Each screen's totals, and the recipe that they were made with."""
    from ftsafety.quiet import quiet
    from ftsafety.stages import House, tuning_context

    if not audit.screens:
        return {}
    for name, screen in audit.screens.items():
        screen.ready(f"screen.{name}")
    if audit.cell.model.local:
        quiet()
    cell = audit.cell
    house = House.at(Path(cell.paths.store) if cell.paths.store else default_store(), cell.paths.same_platform)
    context = tuning_context(house, house.loader.weights(cell.model), cell.seed, [], audit.attack.asks())
    return {name: {**screened(screen, rows, context).totals(), "finds": screen.finds} for name, screen in audit.screens.items()}
