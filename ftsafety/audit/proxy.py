"""A small tuning on the file's rows under the gate, beside what any tuning of its size does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ftsafety.audit.settings import Audit
from ftsafety.errors import FtsafetyError
from ftsafety.gate import judge_run
from ftsafety.record import Run
from ftsafety.run import run
from ftsafety.stats import Band, Estimate, null_band

METRIC = "compliance_rate"


def proxy(audit: Audit) -> dict[str, Any]:
    """The run's projected changes of compliance, each with the band of its null runs, and the gate's verdict, as JSON data."""
    cell = replace(audit.cell, controls=False)
    record = run(cell)
    twin = cell.twins()["null_self"]
    nulls = [run(replace(twin, seed=cell.seed + at)) for at in range(audit.null_runs)]
    changes = [_change(entry, nulls) for entry in record.data["differences"] if entry["metric"] == METRIC]
    if not changes:
        raise FtsafetyError("the proxy tuning measured no compliance; choose a judge that tells it, such as judge=[outcome], or proxy=false.")
    outcome = judge_run(cell.gate, record.data)
    [tuned] = [stage for stage in record.data["stages"] if stage["stage"] == "tune"]
    return {
        "cell": record.data["cell"],
        "folder": str(record.folder),
        "rows": sum(record.data["rows"].values()),
        "steps": tuned.get("steps"),
        "scope": record.data["scope"],
        "nothing_to_lose": bool(record.data["discrimination"].get("nothing_to_lose")),
        "changes": changes,
        "gate": {"code": outcome.code, "sentences": list(outcome.sentences)},
    }


def _change(entry: dict[str, Any], nulls: list[Run]) -> dict[str, Any]:
    """A difference beside the band of the same question put to the null runs' models."""
    where = {key: entry[key] for key in ("benchmark", "ask", "condition", "judge", "metric")}
    same = [other for null in nulls for other in null.data["differences"] if where.items() <= other.items()]
    band: Band = null_band([_estimate(other) for other in same])
    told = {"low": band.low, "high": band.high, "runs": band.runs}
    return {**where, **{key: entry[key] for key in ("value", "low", "high", "n")}, "null": told, "beyond": entry["low"] > band.high}


def _estimate(entry: dict[str, Any]) -> Estimate:
    return Estimate(entry["value"], entry["low"], entry["high"], entry["n"])
