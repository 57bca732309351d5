"""A comparison as CSV and Parquet: every number with its interval and what that covers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftsafety.report.compare import GROUPS, Comparison, Figure, Row
from ftsafety.report.reading import OUTCOMES

MEASURES = ("headline", "plain", "score", "over_refusal", "utility", "utility_loss")


def flat_rows(found: Comparison) -> list[dict[str, Any]]:
    """One flat record per row, all with the same columns; shares between 0 and 1, and None where nothing was measured.

    Columns: what the cell is, ``varied_<setting>`` for each setting that varies, the four outcomes before and after, then per measure
    ``<measure>_<before|after|change>`` with ``_low``, ``_high``, ``_n`` and ``_covers`` (what the interval speaks for), the null band, loss and steps.
    """
    return [_flat(row, found.varied) for row in found.rows]


def _flat(row: Row, varied: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {"cell": row.cell, "folder": row.folder, "seeds": " ".join(map(str, row.seeds)), "runs": row.runs}
    told |= {group: row.names.get(group) for group in GROUPS} | {"mitigation": "+".join(row.mitigations) or None}
    told |= {"benchmark": row.benchmark, "ask": row.ask, "judge": row.judge, "metric": row.metric}
    told |= {f"varied_{name}": row.varied.get(name) for name in varied}
    for part in ("before", "after"):
        told |= {f"{outcome}_{part}": row.outcomes.get(part, {}).get(outcome) for outcome in OUTCOMES}
    for measure in MEASURES:
        for part in ("before", "after", "change"):
            told |= {f"{measure}_{part}{end}": value for end, value in _numbers(row.figures.get(measure, {}).get(part)).items()}
    band = row.band
    told |= {"change_p": row.change.p if row.change else None, "change_p_holm": row.p_holm}
    told |= {"null_low": band and band.low, "null_high": band and band.high, "null_runs": band and band.runs, "beyond_null": row.beyond_null}
    return {**told, "final_loss": row.loss, "steps": row.steps, "nothing_to_lose": row.lost, "scope": row.scope or None}


def _numbers(figure: Figure | None) -> dict[str, Any]:
    if figure is None:
        return dict.fromkeys(("", "_low", "_high", "_n", "_covers"))
    return {"": figure.value, "_low": figure.low, "_high": figure.high, "_n": figure.n, "_covers": figure.covers}


def write_csv(found: Comparison, file: Path) -> None:
    """Write all numbers as CSV, an empty field for None."""
    rows = flat_rows(found)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(found: Comparison, file: Path) -> None:
    """Write all numbers as Parquet, with their types."""
    import pyarrow as pa
    from pyarrow import parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(flat_rows(found)), file)
