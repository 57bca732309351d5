"""``python -m ftsafety.sweep status|failed|resume RUNS``: what became of a sweep's cells, why some failed, and going on with the rest.

The same multirun command does what is missing, too; ``resume`` does it one cell a process, so that a cell that is killed stops no other.
Exit codes: 0 all done, 1 something failed (or a mistake), 2 or 3 as a cell's gate said, 4 something is still to do or running.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety.errors import FtsafetyError
from ftsafety.ledger import Line, overview

UNFINISHED = 4
SHOWN = 40
STYLES = {"failed": "red", "running": "cyan", "planned": "yellow", "done": "green"}


def status(runs: Path, everything: bool, console: Console) -> int:
    """Count the cells by state and list those that are not done; all of them with ``everything``."""
    lines = overview(runs)
    _say(console, _counts(lines), "bold")
    shown = [line for line in lines if everything or line.state != "done"]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="dim")
    for column in ("state", "cell", "what is known"):
        table.add_column(column, overflow="fold")
    for line in shown if everything else shown[:SHOWN]:
        table.add_row(Text(line.state, style=STYLES[line.state]), Text(_name(line)), Text(_known(line)))
    if shown:
        console.print(table)
    if len(shown) > SHOWN and not everything:
        _say(console, f"... and {len(shown) - SHOWN} more; --all shows them.")
    if any(line.state == "failed" for line in lines):
        _say(console, f"Why, and the commands: python -m ftsafety.sweep failed {runs}")
    if any(line.state in ("failed", "planned") for line in lines):
        _say(console, f"To go on: python -m ftsafety.sweep resume {runs}, or the same multirun command again.")
    return _code(lines)


def failed(runs: Path, console: Console) -> int:
    """Every failed cell with its reason and the command that runs it again."""
    lines = [line for line in overview(runs) if line.state == "failed"]
    for line in lines:
        _say(console, f"{_name(line)}: {line.kind}", "bold red")
        _say(console, f"  {line.reason}")
        _say(console, f"  {line.command}", "cyan")
    if not lines:
        _say(console, "No cell has failed.")
    return 1 if lines else 0


def resume(runs: Path, elsewhere: bool, console: Console) -> int:
    """Run what failed or was never begun, one cell a process; with ``elsewhere`` what seems to run on another machine, too."""
    states = {"failed", "planned"} | ({"running"} if elsewhere else set())
    todo = [line for line in overview(runs) if line.state in states]
    for at, line in enumerate(todo, 1):
        _say(console, f"{at} of {len(todo)}: {line.command}", "bold")
        done = subprocess.run([sys.executable, "-m", "ftsafety", *line.command.arguments], cwd=line.command.cwd, check=False)
        if done.returncode < 0:
            _say(console, f"It was killed (signal {-done.returncode}).", "red")
        if done.returncode == 130:
            return 130
    lines = overview(runs)
    _say(console, _counts(lines), "bold")
    return _code(lines)


def _counts(lines: Sequence[Line]) -> str:
    told = [f"{sum(line.state == state for line in lines)} {state}" for state in ("done", "running", "failed", "planned")]
    return f"{len(lines)} {'cell' if len(lines) == 1 else 'cells'}: {', '.join(told)}."


def _name(line: Line) -> str:
    return line.folder or " ".join([*line.command.head, *line.command.overrides]) or "(no overrides)"


def _known(line: Line) -> str:
    if line.state == "failed":
        return f"{line.kind}: {line.reason}"
    if line.state == "running":
        return f"on {line.host} since {line.started}; if that machine is gone, resume --elsewhere takes it over"
    if line.state == "done":
        gate = {0: "", 2: ", gate failed", 3: ", gate has not enough evidence"}.get(line.code or 0, "")
        return f"{line.seconds:.0f} s{gate}"
    return line.reason or "never begun"


def _code(lines: Sequence[Line]) -> int:
    """A failed cell outweighs an unfinished one, which outweighs what a gate said."""
    if any(line.state == "failed" for line in lines):
        return 1
    if any(line.state in ("planned", "running") for line in lines):
        return UNFINISHED
    found = {line.code for line in lines}
    return next((code for code in (2, 3) if code in found), 0)


def _say(console: Console, sentence: str, style: str = "") -> None:
    console.print(Text(sentence, style=style), soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("runs", type=Path, metavar="RUNS", help="the folder of run folders, such as runs")
    top = argparse.ArgumentParser(prog="python -m ftsafety.sweep", description="What became of a sweep's cells.")
    commands = top.add_subparsers(dest="command", required=True, metavar="status|failed|resume")
    told = commands.add_parser("status", parents=[where], help="cells planned, running, done and failed")
    told.add_argument("--all", action="store_true", dest="everything", help="list the done ones, too")
    commands.add_parser("failed", parents=[where], help="why cells failed, and the command that runs each again")
    gone_on = commands.add_parser("resume", parents=[where], help="run what failed or was never begun, one cell a process")
    gone_on.add_argument("--elsewhere", action="store_true", help="also what is said to run on another machine, which nobody here can tell")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    chosen = parser().parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    try:
        if chosen.command == "status":
            return status(chosen.runs, chosen.everything, console)
        if chosen.command == "failed":
            return failed(chosen.runs, console)
        return resume(chosen.runs, chosen.elsewhere, console)
    except FtsafetyError as error:
        _say(Console(stderr=True), str(error), "red")
        return 1
    except KeyboardInterrupt:
        _say(Console(stderr=True), "Stopped. What was finished is kept; resume goes on from there.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
