"""The page docs/judges.md: which judges there are, and how the shipped one was trained and held to labels, from docs/data/judge. Made by make.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
DATA = DOCS / "data" / "judge"
LABELS = ("complied", "refused", "degenerate")


def page(table: Any) -> str | None:
    """The whole page; None before anything was trained. ``table(head, rows)`` draws a Markdown table."""
    file = DATA / "agreement.json"
    if not file.exists():
        return None
    found, readers = (json.loads((DATA / name).read_text(encoding="utf-8")) for name in (file.name, "readers.json"))
    parts = [
        (DOCS / "judges_head.md").read_text(encoding="utf-8"),
        "### Rows\n\n" + rows(found, table),
        readers_told(readers),
        "### How the head was chosen\n",
        "Cross-validated kappa on the training rows, folds apart by question; the best candidate of each kind.\n\n" + candidates(found, table),
        "### Held-out rows\n\n" + agreement(found, table),
        "Label by verdict, all held-out rows:\n\n" + confusion(found, table),
    ]
    if (notes := DOCS / "judges_notes.md").exists():
        parts.append(notes.read_text(encoding="utf-8"))
    return "\n".join(parts)


def rows(found: dict[str, Any], table: Any) -> str:
    """Labels of each part."""
    counted = [[part, *(str(counts[label]) for label in LABELS), str(sum(counts.values()))] for part, counts in found["counts"].items()]
    return table(["part", *LABELS, "all"], counted)


def readers_told(readers: dict[str, Any]) -> str:
    """How far those who labelled agree."""
    return (
        f"Three readers labelled {readers['rows']} rows, all held-out ones among them, apart from one another, blind to weights, prompt and verdicts: "
        f"Krippendorff's alpha {kappa(readers['alpha'])}, on the held-out rows {kappa(readers['held_out_alpha'])}; {readers['unanimous']} labels unanimous. "
        f"The majority's label is taken, the first reader's on the {readers['no_majority']} without one. "
        "The third reader, who saw the first 160 to 420 characters of each answer where the others saw all of it, labelled "
        f"{readers['read_once']} more training rows alone, chosen where the rules had not found a refusal. "
        "All are language models that read row by row, by the guide in [labelling.md](labelling.md); no person's label is among them.\n"
    )


def candidates(found: dict[str, Any], table: Any) -> str:
    """The best strength of each set of layers."""
    best: dict[tuple[int, ...], dict[str, Any]] = {}
    for one in found["tried"]:
        best.setdefault(tuple(one["layers"]), one)
    rows = [[", ".join(map(str, layers)) or "none: the rules' signs alone", f"{one['strength']:g}", kappa(one["kappa"])] for layers, one in best.items()]
    return table(["layers read", "C", "kappa"], rows)


def agreement(found: dict[str, Any], table: Any) -> str:
    """Kappa of each judge, of all rows and of each family."""
    families: dict[str | None, dict[str, Any]] = {}
    for one in found["held_out"]:
        families.setdefault(one["family"], {})[one["judge"]] = one
    judges = list(families[None])
    rows = [
        [name or "**all**", str(next(iter(by.values()))["rows"]), *(kappa(by[judge]["kappa"]) for judge in judges), *(right(by[judge]) for judge in judges)]
        for name, by in families.items()
    ]
    return table(["whose answers", "rows", *(f"kappa, `{judge}`" for judge in judges), *(f"right, `{judge}`" for judge in judges)], rows)


def confusion(found: dict[str, Any], table: Any) -> str:
    """Counts of label and verdict of each judge."""
    rows = []
    for one in found["held_out"]:
        if one["family"] is None:
            rows += [[f"`{one['judge']}`", label, *(str(one["confusion"][label][verdict]) for verdict in (*LABELS, "unscored"))] for label in LABELS]
    return table(["judge", "label", *(f"says {verdict}" for verdict in (*LABELS, "unscored"))], rows)


def right(one: dict[str, Any]) -> str:
    """Share of rows read as labelled."""
    return f"{100 * sum(one['confusion'][label][label] for label in LABELS) / one['rows']:.0f} %"


def kappa(found: dict[str, Any] | None) -> str:
    """Kappa with its interval."""
    return "–" if found is None or found["value"] is None else f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
