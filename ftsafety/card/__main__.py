"""``python -m ftsafety.card DEFENSE RUNS... [FIELD=VALUE...]``: what finished runs show of a defense, as a page, as JSON and in the terminal.

Exit codes: 0 the card passes, 2 it fails, 3 something was not shown, 1 a mistake.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ftsafety.errors import FtsafetyError
from ftsafety.store.publish import publish_json, publish_text

CODES = {"passed": 0, "failed": 2, "not shown": 3}
STYLES = {"passed": "bold green", "failed": "bold red", "not shown": "bold yellow"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m ftsafety.card", description="The acceptance card of a defense, from finished runs' records.")
    top.add_argument("defense", metavar="DEFENSE", help="a mitigation, such as lisa")
    top.add_argument(
        "runs", nargs="+", metavar="RUNS", help="folders with finished runs in them or below; and FIELD=VALUE where they hold several settings of it"
    )
    top.add_argument("--out", type=Path, metavar="DIR", help="where card-DEFENSE.html and card-DEFENSE.json go; the first folder of runs if left out")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the card's files and print it; returns the exit code."""
    chosen = parser().parse_intermixed_args(arguments)
    try:
        return _card(chosen)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1


def _card(chosen: argparse.Namespace) -> int:
    from ftsafety.card.card import card
    from ftsafety.card.defense import settings_of
    from ftsafety.card.page import render

    folders = [Path(word) for word in chosen.runs if "=" not in word or Path(word).is_dir()]
    found = card(chosen.defense, folders, settings_of([word for word in chosen.runs if Path(word) not in folders]))
    out = chosen.out or next(iter(folders))
    out.mkdir(parents=True, exist_ok=True)
    html, data = out / f"card-{chosen.defense}.html", out / f"card-{chosen.defense}.json"
    publish_text(html, render(found))
    publish_json(data, found.data())
    console = Console()
    console.print(Text(found.sentence, style=STYLES[found.ending]), soft_wrap=True)
    for section in found.sections:
        console.print()
        console.print(Text.assemble((f"{section.title}: ", "bold"), (section.ending, STYLES[section.ending])))
        for claim in section.claims:
            reach = "" if claim.low is None else f" [{claim.low:+.3f}, {claim.high:+.3f}]"
            told = "yes" if claim.holds(section.p_holm) else "no"
            console.print(Text(f"  {told:>3}  {claim.text}: {claim.value:+.3f}{reach}, {claim.way} {claim.limit:g} ({claim.of})"), soft_wrap=True)
        for one in section.missing:
            console.print(Text(f"  missing: {one.text}"), soft_wrap=True)
            for line in one.command.splitlines():
                console.print(Text(f"    {line}", style="dim"), soft_wrap=True)
    if found.scope:
        console.print()
        console.print(Text(found.scope, style="dim"), soft_wrap=True)
    for file in (html, data):
        console.print(Text(str(file)), soft_wrap=True)
    return CODES[found.ending]


if __name__ == "__main__":
    sys.exit(main())
