"""``python -m ftsafety.policy POLICY``: is a usage policy whole, and do its questions cover it?

POLICY is a YAML file of your own (copy ``conf/policy/stand_in.yaml`` and write in it) or an option's name. Exit codes: 0 no gaps,
2 gaps, 1 a mistake.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety import stand_in
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.policy.base import Gap, Policy
from ftsafety.policy.coverage import POINTS, Asked, Count, count, gaps, questions_for, read
from ftsafety.policy.file import load

SHIPPED = {"stand_in": (stand_in.FOLDER / "benchmark.jsonl", stand_in.FOLDER / "allowed.jsonl")}
"""Policies whose questions come with the package."""
SHOWN = 12
Rows = Sequence[Asked] | None


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are sentences: exit code 2 says that there are gaps."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; type {self.prog} --help to see what is possible.")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(prog="python -m ftsafety.policy", description="Check a usage policy and the questions that were written for it.")
    top.add_argument("policy", metavar="POLICY", help="a YAML file, or an option's name, such as stand_in or qi2024")
    top.add_argument("--questions", type=Path, metavar="FILE", help="disallowed questions: CSV, TSV, JSON, JSON Lines or Parquet with id, question, category")
    top.add_argument("--allowed", type=Path, metavar="FILE", help="their allowed twins, in the same columns")
    top.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        chosen = parser().parse_args(arguments)
        policy = load(chosen.policy)
        files = (chosen.questions, chosen.allowed)
        if files == (None, None):
            files = SHIPPED.get(chosen.policy, files)
        questions, twins = (read(file) if file else None for file in files)
        found = gaps(policy, questions, twins)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    if chosen.json:
        print(json.dumps(as_data(policy, questions, twins, found), indent=2, ensure_ascii=False))
    else:
        show(policy, questions, twins, found)
    return 2 if found else 0


def as_data(policy: Policy, questions: Rows, twins: Rows, found: Sequence[Gap]) -> dict[str, object]:
    """All that is known, as JSON data; counts are null where no file was given."""
    sides = {"questions": _counts(policy, questions), "allowed": _counts(policy, twins)}
    categories = [
        {"id": id, "name": name, **{side: dataclasses.asdict(counts[id]) if counts else None for side, counts in sides.items()}}
        for id, name in policy.names().items()
    ]
    return {
        "name": policy.name,
        "version": policy.version,
        "origin": policy.origin,
        "half_width": POINTS,
        "questions_for_half_width": questions_for(POINTS),
        "categories": categories,
        "gaps": [dataclasses.asdict(gap) for gap in found],
    }


def _counts(policy: Policy, rows: Rows) -> dict[str, Count] | None:
    return None if rows is None else count(policy, rows)


def show(policy: Policy, questions: Rows, twins: Rows, found: Sequence[Gap]) -> None:
    """Print the policy, or how many questions each of its categories has, and the gaps."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(Text(f"{policy.name or 'A policy without a name'}, version {policy.version or '?'}", style="bold"))
    console.print(Text(" ".join(policy.origin.split()), style="dim"))
    console.print()
    console.print(_texts(policy) if questions is None and twins is None else _coverage(policy, _counts(policy, questions), _counts(policy, twins)))
    if questions is not None or twins is not None:
        needed, points = questions_for(POINTS), round(100 * POINTS)
        line = (
            f"±: half of the widest 95 % interval (Wilson) that a rate over so many questions can have, in points; {needed} questions keep it within {points}."
        )
        console.print(Text(line, style="dim"))
    console.print()
    _say_gaps(console, found)


def _texts(policy: Policy) -> Table:
    """The policy itself, for one without questions."""
    table = _table("category", "name", "disallowed", "allowed")
    for id, category in policy.categories.items():
        table.add_row(*[Text(" ".join(text.split())) for text in (id, category.name, category.disallowed, category.allowed)])
    return table


def _coverage(policy: Policy, questions: dict[str, Count] | None, twins: dict[str, Count] | None) -> Table:
    more = f"more for ± {round(100 * POINTS)}"
    table = _table("category", "name", "disallowed", "±", more, "allowed", "±", more)
    for column in table.columns[2:]:
        column.justify = "right"
    for id, name in policy.names().items():
        cells = [cell for counts in (questions, twins) for cell in _cells(counts[id] if counts is not None else None)]
        table.add_row(Text(id), Text(" ".join(name.split())), *cells)
    totals = [Count.of(sum(one.n for one in counts.values())) if counts is not None else None for counts in (questions, twins)]
    table.add_section()
    table.add_row("all", "", *[cell for total in totals for cell in _cells(total)])
    return table


def _table(*header: str) -> Table:
    return Table(*header, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))


def _cells(one: Count | None) -> list[str]:
    if one is None:
        return ["-", "-", "-"]
    return [str(one.n), "-" if one.half_width is None else f"{100 * one.half_width:.1f}", str(one.more)]


def _say_gaps(console: Console, found: Sequence[Gap]) -> None:
    """Every kind of gap by its first few sentences."""
    if not found:
        console.print(Text("No gaps.", style="green"))
        return
    console.print(Text(f"Gaps: {len(found)}", style="bold yellow"))
    for kind in dict.fromkeys(gap.kind for gap in found):
        alike = [gap for gap in found if gap.kind == kind]
        for gap in alike[:SHOWN]:
            console.print(Text(f"- {gap.says}", style="yellow"), soft_wrap=True)
        if len(alike) > SHOWN:
            console.print(Text(f"- and {len(alike) - SHOWN} more of this kind; --json prints them all.", style="yellow"), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
