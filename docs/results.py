"""The page docs/results.md: the paper's tables asked of the embedded model, from the records under docs/data/results. Made by make.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftsafety.report.compare import Comparison, Figure, Row, compare
from ftsafety.report.expect import Table, by_model, read, runs_of

DOCS = Path(__file__).parent
EXPERIMENTS = DOCS.parent / "conf" / "experiment" / "stand_in"
RESULTS = DOCS / "data" / "results"
PAPER = {
    "table1": "qi2024/table1",
    "table2": "qi2024/table2",
    "table3": "qi2024/table3",
    "table4_harmful": "qi2024/table4_harmful",
    "table4_identity": "qi2024/table4_identity",
    "table11": "qi2024/table11_identity",
    "table14": "qi2024/table14",
    "headline": None,
}
"""Each experiment and where the paper's numbers of it are; the headline cells are no table of the paper."""


def page(table: Any, controls: Any) -> str:
    """The whole page. ``table(head, rows)`` draws a Markdown table, ``controls(record)`` an attack beside its controls."""
    parts = [(DOCS / "results_head.md").read_text(encoding="utf-8")]
    for name, paper in PAPER.items():
        question, command = described(name)
        parts.append(f"## {question}\n\n`{command}`\n")
        folder = RESULTS / name
        if not folder.exists():
            parts.append("Not run yet.\n")
            continue
        parts.append(cells(compare([folder]), table))
        if paper:
            parts.append(contrasts(paper, folder, table))
        for file in sorted(folder.rglob("run.json")):
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["controls"]:
                parts.append(f"Beside its controls, seed {record['seed']} ({record['names']['attack']}, cell {record['cell']}):\n\n{controls(record)}")
    if (notes := DOCS / "results_notes.md").exists():
        parts.append(notes.read_text(encoding="utf-8"))
    return "\n".join(parts)


def described(name: str) -> tuple[str, str]:
    """An experiment's question and command, as its own file's first two comments have them."""
    lines = [line[2:] for line in (EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    question, command = [line for line in lines if not line.startswith("@package")][:2]
    return question, command


def cells(found: Comparison, table: Any) -> str:
    """One line a cell: what sets it apart, then before, after and what changed."""
    rows = []
    for row in found.rows:
        plain, allowed = (row.figures.get(name, {}).get("change") for name in ("plain", "over_refusal"))
        rows.append(
            [
                *(row.varied.get(name, "") for name in found.varied), str(row.runs), compliance(row), points(row.change), band(row), points(plain),
                shares(row, "refused"), shares(row, "degenerate"), points(allowed), number(row.loss, 2), number(row.steps, 0),
            ]
        )  # fmt: skip
    head = [
        *(name.replace("_", " ") for name in found.varied), "runs", "complied, %, own prompt", "difference, points", "null band", "difference, plain prompt",
        "refused, %", "degenerate, %", "over-refusal, points", "final loss", "steps",
    ]  # fmt: skip
    return table(head, rows)


def compliance(row: Row) -> str:
    """Compliance before and after, in percent."""
    before, after = (row.figures["headline"].get(part) for part in ("before", "after"))
    return " → ".join(f"{100 * figure.value:.0f}" for figure in (before, after) if figure)


def shares(row: Row, outcome: str) -> str:
    """An outcome's share before and after, in percent."""
    return " → ".join(f"{100 * share[outcome]:.0f}" for share in row.outcomes.values())


def points(figure: Figure | None) -> str:
    """A difference with its interval, in points; ≈ where the interval covers zero."""
    if figure is None:
        return ""
    sign = "≈ " if figure.low <= 0 <= figure.high else ""
    return f"{sign}{100 * figure.value:+.0f} [{100 * figure.low:+.0f}, {100 * figure.high:+.0f}]"


def number(value: float | None, digits: int) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:.{digits}f}"


def band(row: Row) -> str:
    """What ``null_self`` does to the same cell, where it was asked."""
    return f"{100 * row.band.low:+.0f} to {100 * row.band.high:+.0f}" if row.band else ""


def contrasts(paper: str, folder: Path, table: Any) -> str:
    """The paper's contrasts on our runs, by the rules of ``ftsafety.report.expect``."""
    [expected], _ = read(paper)
    [groups] = by_model(runs_of([folder])).values()
    ours = Table(expected.name, expected.data, groups)
    rows = []
    for contrast in ours.data["contrasts"]:
        told = ours.contrast(contrast)
        difference = told.difference
        number = f"{100 * difference.value:+.0f} [{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]" if difference else ""
        rows.append([contrast["says"], number, told.verdict, "; ".join(told.reasons)])
    return table(["contrast of the paper", "difference here, points", "verdict", "why"], rows)
