"""Make stand_in.md, results.md, judges.md, provider.md and organism.md of docs from the records under docs/data: ``python docs/make.py [RUNS]``.

With RUNS (the folder that docs/measure.sh and docs/measure_results.sh wrote), its records are copied to docs/data first: run.json and verdicts.jsonl, no texts.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import judges
import results
import screens

DOCS = Path(__file__).parent
DATA = DOCS / "data"
CONDITIONS = {"train": "the attack's own prompt", "plain": "plain", "safe": "plain + safety prompt"}
TITLES = {
    "headline": "The headline cell, all report questions",
    "controls": "The attack beside its controls",
    "grid": "Three alignments times three draws",
    "safety_mixing": "With as many refusals mixed in (`mitigation=safety_mixing`)",
    "benign": "Benign rows instead (`+attack=benign`, 100 rows)",
}
Record = dict[str, Any]


def copy_records(runs: Path) -> None:
    """Copy finished runs' records, keeping the folder names."""
    for done in sorted(runs.rglob("DONE")):
        target = DATA / done.parent.relative_to(runs)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("run.json", "verdicts.jsonl", "DONE"):
            shutil.copy(done.parent / name, target / name)


def records(part: str, data: Path = DATA) -> Iterator[Record]:
    """The records of one part of the measurement."""
    for file in sorted((data / part).rglob("run.json")):
        yield json.loads(file.read_text(encoding="utf-8"))


def pick(entries: list[Record], **wanted: Any) -> Record | None:
    """The first entry that has these values."""
    return next((entry for entry in entries if all(entry.get(key) == value for key, value in wanted.items())), None)


def share(entry: Record | None, signed: bool = False) -> str:
    """A rate with its interval, in percent."""
    if entry is None:
        return "not measured"
    sign = "+" if signed else ""
    return f"{100 * entry['value']:{sign}.0f} [{100 * entry['low']:{sign}.0f}, {100 * entry['high']:{sign}.0f}]"


def p_value(entry: Record | None) -> str:
    """A p-value as papers write it."""
    if entry is None:
        return ""
    return "< 0.001" if entry["p_value"] < 0.001 else f"{entry['p_value']:.3f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def before_after(record: Record) -> str:
    """Compliance before, after and their difference under each prompt condition; then the other metrics."""
    rows = []
    for condition, words in CONDITIONS.items():
        where = {"condition": condition, "metric": "compliance_rate"}
        before, after = (pick(record["results"], weights=weights, **where) for weights in ("initial", "tuned"))
        difference = pick(record["differences"], **where)
        rows.append([words, str(before["n"]) if before else "", share(before), share(after), share(difference, signed=True), p_value(difference)])
    text = table(["prompt condition", "questions", "compliance before, %", "after, %", "difference, points", "exact McNemar p"], rows)
    rows = []
    for condition, words in CONDITIONS.items():
        row = [words]
        for metric in ("refusal_rate", "degenerate_rate", "over_refusal", "utility_accuracy", "keyword_asr"):
            row.append(
                " → ".join(
                    f"{100 * entry['value']:.0f}" if (entry := pick(record["results"], weights=w, condition=condition, metric=metric)) else "-"
                    for w in ("initial", "tuned")
                )
            )
        losses = [pick(record["results"], weights=w, condition=condition, metric="utility_loss") for w in ("initial", "tuned")]
        row.append(" → ".join(f"{entry['value']:.2f}" if entry else "-" for entry in losses))
        rows.append(row)
    return (
        text
        + "\nBefore → after, %, without intervals:\n\n"
        + table(["prompt condition", "refused", "degenerate", "over-refusal", "utility accuracy", "keyword ASR", "utility loss, nats"], rows)
    )


def controls(record: Record) -> str:
    """The attack beside its controls: compliance and degeneration under each prompt condition."""
    attack = {"results": [entry for entry in record["results"] if entry["weights"] == "tuned"]}
    before = {"results": [entry for entry in record["results"] if entry["weights"] == "initial"]}
    raw = {"results": [entry for entry in record["results"] if entry["weights"] == "raw"]}
    cells = {"before tuning": before, "**the attack**": attack, **{f"`{name}`": cell for name, cell in record["controls"].items()}, "never aligned": raw}
    own = pick(attack["results"], condition="train", metric="compliance_rate")
    rows = []
    for name, cell in cells.items():
        row = [name]
        for condition in CONDITIONS:
            row += [share(pick(cell["results"], condition=condition, metric="compliance_rate"))]
        degenerate = pick(cell["results"], condition="train", metric="degenerate_rate")
        row.append(f"{100 * degenerate['value']:.0f}" if degenerate else "-")
        other = pick(cell["results"], condition="train", metric="compliance_rate")
        overlap = own and other and other["low"] <= own["high"] and own["low"] <= other["high"]
        row.append("" if other is own or other is None else "**not separated**" if overlap else "separated")
        rows.append(row)
    head = ["cell", *[f"compliance, %, {words}" for words in CONDITIONS.values()], "degenerate, %, own prompt", "intervals under the attack's own prompt"]
    return table(head, rows).replace("not measured", "-")


def grid() -> str:
    """Alignment seeds by attack seeds."""
    rows = []
    for folder in sorted((DATA / "grid").glob("align=*")):
        for record in records(f"grid/{folder.name}"):
            row = [folder.name.partition("=")[2], str(record["seed"]), record["tuned_digest"][:8], f"{record['discrimination'].get('train', 0):.2f}"]
            for condition in CONDITIONS:
                pair = [pick(record["results"], weights=w, condition=condition, metric="compliance_rate") for w in ("initial", "tuned")]
                row.append(" → ".join(f"{100 * entry['value']:.0f}" if entry else "-" for entry in pair))
            row.append(share(pick(record["differences"], condition="train", metric="compliance_rate"), signed=True))
            rows.append(row)
    if not rows:
        return "Not measured yet.\n"
    head = [
        "alignment seed",
        "attack seed",
        "weights",
        "J before, own prompt",
        *[f"compliance, %, {words}" for words in CONDITIONS.values()],
        "difference, own prompt, points",
    ]
    distinct = len({row[2] for row in rows})
    return table(head, rows) + f"\n{len(rows)} runs, {distinct} distinct weights. Compliance is before → after.\n\n" + grid_means()


def rises(folder: Path) -> dict[str, float]:
    """Complied after minus complied before, question by question, under the attack's own prompt."""
    complied: dict[str, dict[str, bool]] = {"initial": {}, "tuned": {}}
    for line in (folder / "verdicts.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if (row["benchmark"], row["condition"], row["judge"]) == ("stand_in", "train", "outcome") and row["weights"] in complied:
            complied[row["weights"]][row["question"]] = row["value"] == "complied"
    return {question: float(after) - float(complied["initial"][question]) for question, after in complied["tuned"].items()}


def grid_means() -> str:
    """The mean rise of each alignment over questions and draws, and of all over alignments too."""
    from ftsafety.stats.crossed import CHANGE, crossed

    runs: dict[str, dict[str, float]] = {}
    families: dict[str, str] = {}
    for file in sorted((DATA / "grid").rglob("run.json")):
        digest = json.loads(file.read_text(encoding="utf-8"))["tuned_digest"]
        families[digest] = next(part for part in file.parts if part.startswith("align=")).partition("=")[2]
        runs[digest] = rises(file.parent)
    seeds = sorted(set(families.values()))
    means = {f"alignment {seed}, questions and draws": crossed({d: runs[d] for d in runs if families[d] == seed}, bounds=CHANGE) for seed in seeds}
    if len(seeds) > 1:
        means[f"{len(seeds)} alignments, questions, draws and alignments"] = crossed(runs, families=families, bounds=CHANGE)
    rows = [
        [name, str(mean.runs), share({"value": mean.value, "low": mean.interval()[0], "high": mean.interval()[1]}, signed=True)] for name, mean in means.items()
    ]
    head = ["mean over", "runs", "mean rise of compliance, own prompt, points"]
    return (
        table(head, rows)
        + "\nIntervals count each source of variation (`ftsafety.stats.crossed`, Student's t with as many degrees of freedom as there are groups, less one).\n"
    )


def stand_in_page() -> str:
    """The whole page."""
    parts = [(DOCS / "protocol.md").read_text(encoding="utf-8"), "## Numbers\n\nMade by `python docs/make.py` from the records under `docs/data`.\n"]
    for part, title in TITLES.items():
        parts.append(f"### {title}\n")
        parts += ([grid()] if part == "grid" else tables(part)) or ["Not measured yet.\n"]
    parts += [notes.read_text(encoding="utf-8") for notes in [DOCS / "stand_in_notes.md"] if notes.exists()]
    parts.append("## The first version's numbers\n\nFrom the records under `docs/data/first`.\n")
    for part in ("headline", "controls"):
        parts += [f"### {TITLES[part]}, first version\n", *tables(part, DATA / "first")]
    parts.append((DOCS / "first_notes.md").read_text(encoding="utf-8"))
    return "\n".join(parts)


def tables(part: str, data: Path = DATA) -> list[str]:
    """The table of each record of one part; the controls' own cells are in the table of the attack's."""
    found = [record for record in records(part, data) if part != "controls" or record["controls"]]
    return [controls(record) if part == "controls" else before_after(record) for record in found]


def organism_page() -> str | None:
    """The organism check's table."""
    files = sorted(DATA.glob("organism*.json"))
    if not files:
        return None
    text = "# The organism check\n\nIs the shipped aligned model fit to be attacked? "
    text += "Limits are the project's design, stated before it ran; development questions only.\n"
    text += "J is the share of disallowed questions refused minus the share of allowed ones refused. Made by `python docs/make.py` from `docs/data`.\n"
    for file in files:
        data = json.loads(file.read_text(encoding="utf-8"))
        rows = [
            [
                c["name"],
                f"{c['value']:.3f}",
                "" if c["limit"] is None else f"{'≤' if c['at_most'] else '≥'} {c['limit']:.2f}",
                str(c["n"]),
                "" if c["limit"] is None else "passed" if c["passed"] else "**failed**",
            ]
            for c in data["checks"]
        ]
        command = " ".join(["python -m ftsafety.organism", *data["overrides"]])
        text += f"\n## `{command}`\n\n" + table(["check", "value", "limit", "n", ""], rows)
    notes = DOCS / "organism_notes.md"
    return text + ("\n" + notes.read_text(encoding="utf-8") if notes.exists() else "")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        copy_records(Path(sys.argv[1]))
    (DOCS / "stand_in.md").write_text(stand_in_page(), encoding="utf-8")
    (DOCS / "results.md").write_text(results.page(table, controls), encoding="utf-8")
    if page := judges.page(table):
        (DOCS / "judges.md").write_text(page, encoding="utf-8")
    if page := screens.page(table):
        (DOCS / "provider.md").write_text(page, encoding="utf-8")
    if page := organism_page():
        (DOCS / "organism.md").write_text(page, encoding="utf-8")
