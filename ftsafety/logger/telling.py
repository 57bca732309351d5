"""What of a run's record is told to a logger. Records hold no text of questions and answers but ten pairs, which are redacted there already."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.logger.base import Rows

if TYPE_CHECKING:
    from ftsafety.cell import Cell

RESULT = ("weights", "benchmark", "ask", "condition", "judge", "metric", "value", "low", "high", "n", "unscored")
DIFFERENCE = (*RESULT[1:-1], "p_value", "unscored")
VERDICT = ("weights", "benchmark", "ask", "condition", "question", "category", "judge", "value", "flags", "answer", "tokens", "truncated")
STAGE = ("stage", "label", "key", "reused", "seconds", "steps", "final_loss")
SIDES = ("before", "after")
SIDE = ("verdict", "digest", "truncated", "text")
Table = tuple[str, Sequence[str], Rows]


def config(cell: Cell, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is, with its options' names on top, by which runs are found and grouped."""
    names = {"attack": "none", "align": "none", **cell.names, "mitigation": "+".join(sorted(cell.mitigations)) or "none"}
    asked = {"benchmark": "+".join(sorted(cell.benchmarks)), "judge": "+".join(sorted(cell.judges)), "scope": cell.model.scope}
    return {**names, **asked, "recipe": dict(recipe)}


def numbers(data: Mapping[str, Any]) -> dict[str, float]:
    """Results and differences by a name such as ``tuned/stand_in/train/outcome/compliance_rate``, and the ends of their intervals beside it.

    The attack's name for a wording is left out where it has one only, so that runs of different attacks can stand side by side.
    """
    entries = [(entry["weights"], entry) for entry in data["results"]] + [("difference", entry) for entry in data["differences"]]
    several = len({entry["ask"] for _, entry in entries if entry["condition"] == "train"}) > 1
    found: dict[str, float] = {}
    for label, entry in entries:
        if entry["n"]:
            where = f"{entry['condition']}-{entry['ask']}" if several and entry["condition"] == "train" else entry["condition"]
            name = "/".join((label, entry["benchmark"], where, entry["judge"], entry["metric"]))
            found |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
    return found


def readings(data: Mapping[str, Any]) -> list[tuple[int, dict[str, float]]]:
    """What was read of the model while it was tuned, by optimiser step; empty where nothing was."""
    read = (data.get("probe") or {}).get("readings", [])
    return [
        (one["step"], {"refusal_rate": sum(one["refused"]) / len(one["refused"]), "first_token_kl": one["kl"], "direction_drift": one["drift"]}) for one in read
    ]


def tables(folder: Path, data: Mapping[str, Any]) -> Iterator[Table]:
    """Results, differences, verdicts (ids and digests), the pairs of answers that may be shown, and stages, of a finished run."""
    yield "results", RESULT, _rows(data["results"], RESULT)
    if data["differences"]:
        yield "differences", DIFFERENCE, _rows(data["differences"], DIFFERENCE)
    with (folder / "verdicts.jsonl").open(encoding="utf-8") as file:
        verdicts = [json.loads(line) for line in file]
    yield "verdicts", VERDICT, _rows([{**row, "flags": json.dumps(row["flags"], ensure_ascii=False)} for row in verdicts], VERDICT)
    evidence = folder / "evidence.json"
    pairs = json.loads(evidence.read_text(encoding="utf-8"))["pairs"] if evidence.exists() else []
    sides = [side for side in SIDES if any(side in pair for pair in pairs)]
    if pairs:
        columns = ["question", "category", "text", *[f"{side}_{name}" for side in sides for name in SIDE]]
        yield "answers", columns, [[*(pair[name] for name in columns[:3]), *(pair[side][name] for side in sides for name in SIDE)] for pair in pairs]
    yield "stages", STAGE, _rows(data["stages"], STAGE)


def weights(data: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the weights before and after tuning."""
    told = {"initial": data["start_digest"], "tuned": data["tuned_digest"]}
    return {name: digest for name, digest in told.items() if digest}


def _rows(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Rows:
    return [[entry.get(name) for name in columns] for entry in entries]
