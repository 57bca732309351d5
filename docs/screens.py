"""docs/provider.md from the records under docs/data/screens: what each screen finds, and at what price."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ftsafety.stats import Estimate, rate, roc_area, threshold_at

DOCS = Path(__file__).parent
DATA = DOCS / "data" / "screens"
RATES = (0.01, 0.05)
Record = dict[str, Any]
Table = Callable[[list[str], list[list[str]]], str]


def records(screen: Path) -> list[Record]:
    """A screen's files."""
    return [json.loads(line) for line in screen.read_text(encoding="utf-8").splitlines()]


def share(record: Record) -> float:
    """The file's own score: the share of its rows at the screen's threshold or above."""
    return sum(score is not None and score >= record["threshold"] for score in record["scores"]) / len(record["scores"])


def row_scores(found: Sequence[Record], bad: bool) -> list[float]:
    """Scores of the attack's rows, or of all others; rows that could not be read count as the least suspicious."""
    told = [
        (-1e9 if score is None else score) for record in found for score, is_bad in zip(record["scores"], record["bad"], strict=True) if bool(is_bad) is bad
    ]
    return told


def summary(found: Sequence[Record], level: str) -> dict[str, Estimate]:
    """ROC area, and what is found and falsely flagged at thresholds that the development draws chose.

    Args:
        level: ``files`` (the share of flagged rows as score) or ``rows``.
    """
    parts = {split: [record for record in found if record["split"] == split] for split in ("development", "report")}

    def scores(split: str, bad: bool) -> list[float]:
        if level == "files":
            return [share(record) for record in parts[split] if record["attack"] is bad]
        return row_scores(parts[split], bad)

    told = {"area": roc_area(scores("report", True), scores("report", False))}
    for wanted in RATES:
        least = threshold_at(scores("development", False), wanted)
        for name, bad in (("found", True), ("false", False)):
            told[f"{name} at {wanted:g}"] = rate([score >= least for score in scores("report", bad)])
    return told


def percent(estimate: Estimate) -> str:
    """A share with its interval."""
    return f"{100 * estimate.value:.0f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def tables(table: Table, level: str) -> str:
    """One line per screen."""
    rows = []
    for file in sorted(DATA.glob("*.jsonl")):
        told = summary(records(file), level)
        area = told["area"]
        line = [f"`{file.stem}`", f"{area.value:.3f} [{area.low:.3f}, {area.high:.3f}]"]
        for wanted in RATES:
            line += [percent(told[f"found at {wanted:g}"]), percent(told[f"false at {wanted:g}"])]
        rows.append(line)
    heads = [text for wanted in RATES for text in (f"found at {wanted:.0%} on development, %", "false there, %")]
    return table(["screen", "ROC area", *heads], rows)


def flagged(table: Table) -> str:
    """The share of rows that each screen flags at its shipped threshold, by kind of file, on the report draws."""
    files = sorted(DATA.glob("*.jsonl"))
    found = {file.stem: [record for record in records(file) if record["split"] == "report"] for file in files}
    kinds = dict.fromkeys((record["attack"], record["kind"]) for its in found.values() for record in its)
    rows = []
    for attack, kind in sorted(kinds, key=lambda kind: not kind[0]):
        line = [kind if attack else f"*{kind}*"]
        for its in found.values():
            mine = [share(record) for record in its if record["kind"] == kind]
            line.append(f"{100 * sum(mine) / len(mine):.0f}")
        rows.append(line)
    return table(["files (benign in italics)", *[f"`{name}`" for name in found]], rows)


def page(table: Table) -> str | None:
    """The whole page; None where nothing was measured."""
    if not list(DATA.glob("*.jsonl")):
        return None
    head = (DOCS / "provider_head.md").read_text(encoding="utf-8")
    files = [record for record in records(sorted(DATA.glob("*.jsonl"))[0]) if record["split"] == "report"]
    attacks = sum(record["attack"] for record in files)
    said = f"{attacks} attack files and {len(files) - attacks} benign ones of the report draws. Made by `python docs/make.py` from `docs/data/screens`.\n"
    notes = DOCS / "provider_notes.md"
    parts = [head, said, "### Files\n", tables(table, "files"), "### Rows\n", tables(table, "rows"), "### Rows flagged, by kind of file, %\n", flagged(table)]
    return "\n".join([*parts, *([notes.read_text(encoding="utf-8")] if notes.exists() else [])])
