"""``python -m ftsafety.store verify|explain|prune``: is the store whole, why was something computed again, what can go?

Exit codes: 0 done, 1 something is damaged or can't be found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety.errors import FtsafetyError
from ftsafety.settings import default_store
from ftsafety.store import care

SHOWN = 12
UNITS = ("B", "kB", "MB", "GB", "TB")


def verify(store: Path, console: Console) -> int:
    """Say which artifacts are damaged; 1 if any is."""
    checked, damaged = 0, []
    for folder in care.artifacts(store):
        checked += 1
        if found := care.damage(folder):
            damaged.append(found)
    for one in damaged:
        _say(console, f"{one.folder}: {one.reason}.", "red")
    if damaged:
        _say(console, f"Damaged: {len(damaged)} of {checked} artifacts. Delete the folders above; runs that need them make them again.")
        return 1
    _say(console, f"Artifacts in {store}: {checked}, all whole." if checked else f"There is no artifact in {store} yet.")
    return 0


def explain(store: Path, key: str, other: str | None, console: Console) -> int:
    """Show a recipe, and what sets it apart from another one of its kind."""
    one = care.find(store, key)
    _say(console, f"{one['kind']} {one['key']}, made in {one['seconds']:.0f} s from:", "bold")
    _table(console, care.flat(one["recipe"]))
    second = care.find(store, other) if other else care.newest_other(store, one)
    if second is None:
        _say(console, f"There is no other {one['kind']} in {store} to compare it with.")
        return 0
    found = care.differing(one["recipe"], second["recipe"])
    which = "" if other else f", the newest other {one['kind']}"
    if not found:
        _say(console, f"Its recipe is that of {second['kind']} {second['key']}{which}; they differ in the platform that made them.")
        return 0
    _say(console, f"It is not {second['kind']} {second['key']}{which}, since these fields differ:", "bold")
    _table(console, found[:SHOWN], ("field", "this one", "the other"))
    if len(found) > SHOWN:
        _say(console, f"... and {len(found) - SHOWN} more.")
    return 0


def prune(store: Path, really: bool, paid: bool, console: Console) -> int:
    """List what no run refers to; with ``really``, delete it."""
    found, young = care.unneeded(store, paid)
    _table(console, [(waste.what, _size(waste.size)) for waste in found])
    total = _size(sum(waste.size for waste in found))
    if young:
        _say(console, f"Left alone, since a run that is under way may need what is less than a day old: {young}.")
    if not found:
        _say(console, "Nothing to delete.")
    elif not really:
        _say(console, f"No run refers to these: {len(found)}, {total}. Nothing was deleted; add --delete to do so.")
    else:
        for waste in found:
            care.delete(waste.path)
        _say(console, f"Deleted: {len(found)}, {total}.")
    return 0


def _say(console: Console, sentence: str, style: str = "") -> None:
    console.print(Text(sentence, style=style), soft_wrap=True)


def _table(console: Console, rows: Any, header: Sequence[str] = ()) -> None:
    table = Table(*header, box=None, pad_edge=False, show_header=bool(header), header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*[Text(cell, overflow="fold") for cell in row])
    if table.row_count:
        console.print(table)


def _size(size: int) -> str:
    """Bytes in words."""
    power = min(len(UNITS) - 1, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.{1 if power else 0}f} {UNITS[power]}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--store", type=Path, default=None, metavar="DIR", help="the store's folder; FTSAFETY_STORE or the user's cache folder otherwise")
    top = argparse.ArgumentParser(prog="python -m ftsafety.store", description="Look after the store of results.")
    commands = top.add_subparsers(dest="command", required=True, metavar="verify|explain|prune")
    commands.add_parser("verify", parents=[where], help="compute every artifact's digests again and list the damaged ones")
    told = commands.add_parser("explain", parents=[where], help="what an artifact was made from, and why it is not another one")
    told.add_argument("key", metavar="KEY", help="the first digits of its key, as in the stages of run.json")
    told.add_argument("other", metavar="OTHER_KEY", nargs="?", help="the one to compare it with; the newest other one of its kind otherwise")
    pruned = commands.add_parser("prune", parents=[where], help="list what no run folder refers to, with its size")
    pruned.add_argument("--delete", action="store_true", help="delete it")
    pruned.add_argument("--paid", action="store_true", help="verdicts, too, which may have cost money")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    chosen = parser().parse_args(arguments)
    store, console = chosen.store or default_store(), Console()
    try:
        if chosen.command == "verify":
            return verify(store, console)
        if chosen.command == "explain":
            return explain(store, chosen.key, chosen.other, console)
        return prune(store, chosen.delete, chosen.paid, console)
    except FtsafetyError as error:
        _say(Console(stderr=True), str(error), "red")
        return 1


if __name__ == "__main__":
    sys.exit(main())
