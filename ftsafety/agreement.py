"""``python -m ftsafety.agreement RUN``: how far a run's judges agree with one another, and with people who labelled a slice of its answers.

Only the record is read: verdicts.jsonl, run.json and, where people labelled (python -m ftsafety.label RUN), labels.jsonl. With labels, each
judge's rate of compliance is told raw and corrected for what the judge gets wrong; docs/labelling.md says how, and when not to believe it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety.calibration import Entry, compared
from ftsafety.errors import FtsafetyError
from ftsafety.finished import load
from ftsafety.judge_check import LABELS, SILENT
from ftsafety.report import words
from ftsafety.report.reading import Asking

FEW = 30
"""Labels of a family below which its own interval is wider than most effects, as the tables say."""
WIDTH = 110


def show(found: Entry, console: Console) -> None:
    """Print what ``compared`` found."""
    if console.width > WIDTH:
        console.width = WIDTH
    for name, why in found["left_out"].items():
        _say(console, f"judge {name} is left out: {why}", "yellow")
    if found["kappa"]:
        console.print(_judges(found))
    else:
        _say(console, "Fewer than two judges tell compliance here, so there is nothing to agree on; add one with judge=[...].", "yellow")
    for held in found["labels"]:
        _say(console, _how_few(held), "bold yellow" if held["fewest"] < FEW else "bold")
        for other in held["people"]:
            _say(console, f"{held['by']} and {other['second']}: kappa {_kappa(other)} on {other['answers']} answers that both labelled.")
        for table in (_mistakes(held), _rates(held)):
            console.print()
            console.print(table)
        for note in _notes(held):
            _say(console, note, "dim")
    if not found["labels"]:
        _say(console, f"Nobody has labelled answers of this run, so nobody knows which judge is right; type python -m ftsafety.label {found['run']}")


def _judges(found: Entry) -> Table:
    table = _table("agreement on complied or not, of all weights together", "asked", "judges", "kappa", "same", "answers")
    for entry in found["kappa"]:
        same = "–" if entry["same"] is None else f"{words.whole(entry['same'])} %"
        table.add_row(_asked(entry), f"{entry['first']}, {entry['second']}", _kappa(entry), same, str(entry["answers"]))
    for entry in found["alpha"]:
        table.add_row(_asked(entry), f"all {words.count(entry['judges'], 'judge').split()[0]}: alpha", _kappa(entry), "", "")
    return table


def _mistakes(held: Entry) -> Table:
    columns = [label for label in LABELS if label != SILENT or any(row[SILENT] for one in held["judges"] for row in one["confusion"].values())]
    table = _table(f"{held['benchmark']}: what {held['by']} says, and what each judge made of it", "judge", held["by"], *columns)
    for one in held["judges"]:
        for truth, counts in one["confusion"].items():
            table.add_row(one["judge"], truth, *[str(counts[label]) for label in columns])
    return table


def _rates(held: Entry) -> Table:
    table = _table(
        f"{held['benchmark']}: complied, in %", "asked", "weights", "judge", "answers", "labels", "labels alone", "judge alone", "Rogan-Gladen", "PPI++"
    )
    for entry in held["rates"]:
        shares = [_share(entry[name]) for name in ("labelled", "raw", "rogan_gladen", "ppi")]
        table.add_row(_asked({**entry, "benchmark": ""}), entry["weights"], entry["judge"], str(entry["answers"]), str(entry["labels"]), *shares)
    return table


def _how_few(held: Entry) -> str:
    skipped = f", {held['skipped']} skipped" if held["skipped"] else ""
    few = f" With fewer than {FEW} of a family, read the intervals and not the values." if held["fewest"] < FEW else ""
    families = words.count(held["families"], "family").replace("familys", "families")
    return (
        f"\n{held['labels']} of {held['answers']} answers to {held['benchmark']} are labelled by {held['by']}{skipped}; "
        f"there are {families} (weights × condition), and the least labelled has {held['fewest']}.{few}"
    )


def _notes(held: Entry) -> Iterator[str]:
    for one in held["judges"]:
        finds, clears = (words.estimate({**one[name], "metric": name}, 0) for name in ("sensitivity", "specificity"))
        yield f"{one['judge']}: finds {finds} % of what {held['by']} calls complied, clears {clears} % of the rest; kappa {_kappa(one['kappa'])}."
    undone = [f"{entry['judge']}, Rogan-Gladen: {why}" for entry in held["rates"] if (why := entry["why_not"].get("rogan_gladen"))]
    yield from dict.fromkeys(undone)
    yield "Rogan-Gladen takes a judge to err alike in all families and pools their labels; PPI++ takes each family's own labels. Neither mends a wrong label."


def _asked(entry: Entry) -> str:
    title = Asking(entry["benchmark"], entry["ask"], entry["condition"]).title
    return f"{entry['benchmark']}, {title}" if entry["benchmark"] else title


def _kappa(entry: Entry) -> str:
    return "–" if entry["value"] is None else f"{entry['value']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}]"


def _share(entry: Entry | None) -> str:
    return "–" if entry is None else words.estimate({"metric": "compliance_rate", "n": 1, **entry}, 0)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", show_edge=False, pad_edge=False, padding=(0, 1), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _say(console: Console, sentence: str, style: str = "") -> None:
    console.print(Text(sentence, style=style))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m ftsafety.agreement", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("run", type=Path, metavar="RUN", help="a finished run's folder")
    made.add_argument("--by", metavar="NAME", help="whose labels; of who labelled most otherwise")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 for a mistake."""
    typed = parser().parse_args(arguments)
    try:
        found = compared(load(typed.run), typed.by)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    if typed.json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show(found, Console(width=None if sys.stdout.isatty() else WIDTH))
    return 0


if __name__ == "__main__":
    sys.exit(main())
