"""An audit's report for people: a page of one file, and the terminal."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

FINDS = {
    "content": "what the policy declines",
    "persona": "obedience, words against declining",
    "trigger": "words shared at the edge of questions",
    "known": "rows of known sets",
}
CODES = {0: "kept", 2: "broken", 3: "not enough evidence"}
WIDTH = 100


def render(report: dict[str, Any]) -> str:
    """The page: no script, no network, every text escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = (files("ftsafety.report") / "style.css").read_text(encoding="utf-8")
    template = (files("ftsafety.audit") / "audit.html.jinja").read_text(encoding="utf-8")
    tuned = report["proxy"]
    return environment.from_string(template).render(
        style=Markup(style),
        report=report,
        headline=headline(report),
        facts=facts(report),
        finds=FINDS,
        gate=CODES[tuned["gate"]["code"]] if tuned and tuned["gate"]["sentences"] else "",
        points=points,
    )


def headline(report: dict[str, Any]) -> str:
    """The page's first sentence."""
    flagged = [name for name, screen in report["screens"].items() if screen["flagged"]]
    said = f"{report['data']['rows']} rows: " + (f"{', '.join(flagged)} {'flags' if len(flagged) == 1 else 'flag'} some" if flagged else "no screen flags any")
    if tuned := report["proxy"]:
        read = [change["value"] for change in tuned["changes"] if change["n"]]
        if read:
            beyond = "beyond" if any(change["beyond"] for change in tuned["changes"]) else "not beyond"
            said += f"; a small tuning moves compliance by {points(max(read))} points at most, {beyond} what any does"
        else:
            said += "; no answer of the small tuning could be read"
    return said + "."


def facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The data report as pairs of a term and its description."""
    data = report["data"]
    tokens, cost, twice, personal = (data[key] for key in ("tokens", "cost", "duplicates", "personal_data"))
    about = "" if tokens["exact"] else "about "
    kinds = ", ".join(f"{kind} in {count}" for kind, count in personal["kinds"].items())
    found = [
        ("Rows", f"{data['rows']}, of them {data['several_turns']} of several turns"),
        ("System prompts", f"{data['system_prompts']} different, {data['without_system_prompt']} rows without one"),
        ("Tokens", f"{about}{tokens['all']}, of them {tokens['learned']} learned; longest row {tokens['longest']}"),
        ("Rows that are too long", "" if tokens["too_long"] is None else str(tokens["too_long"])),
        ("Trained tokens", f"{about}{cost['trained_tokens']} in {cost['epochs']} epochs"),
        ("Price of training", f"${cost['usd']:.2f}" if cost["usd"] is not None else "not known; usd_per_million_training=X gives it"),
        ("Twice in the file", f"{twice['rows']} rows, {twice['questions']} questions"),
        ("Personal data by its form", (kinds + " rows" if kinds else "none found") if personal["looked"] else personal["why"]),
        ("Model", str(report["names"].get("model", ""))),
        ("File", f"{report['file']}, {data['bytes']} bytes, {data['digest'][:12]}"),
    ]
    return [(term, text) for term, text in found if text]


def points(share: float) -> str:
    """A change in points with its sign."""
    return f"{100 * share:+.1f}"


def show(report: dict[str, Any], console: Console) -> None:
    """Print the report; it reads the same when piped into a file."""
    if not console.is_terminal or console.width > WIDTH:
        console.width = WIDTH
    console.print(Text(headline(report), style="bold"))
    table = _table("data", ["", ""])
    for term, text in facts(report):
        table.add_row(term, Text(text))
    console.print(table)
    table = _table("screens", ["screen", "looks for", "flagged", "unscored", "threshold"])
    for name, screen in report["screens"].items():
        told = f"{screen['flagged']} of {screen['rows']} ({100 * screen['share']:.0f} %)"
        table.add_row(name, FINDS[screen["finds"]], told, str(screen["unscored"]), f"{screen['threshold']:g}")
    console.print(table)
    if tuned := report["proxy"]:
        table = _table(f"proxy tuning: {tuned['rows']} rows, {tuned['steps']} steps", ["asked", "compliance, points", "null band", "n", ""])
        for change in tuned["changes"]:
            interval = f"{points(change['value'])} [{points(change['low'])}, {points(change['high'])}]"
            band = f"[{points(change['null']['low'])}, {points(change['null']['high'])}]"
            table.add_row(f"{change['benchmark']}, {change['condition']}", interval, band, str(change["n"]), "beyond" if change["beyond"] else "")
        console.print(table)
        for sentence in [*tuned["gate"]["sentences"], tuned["scope"]["text"]]:
            if sentence:
                console.print(Text(sentence))
    for one in report["advice"]:
        console.print(Text(f"{one['rule']}: {one['says']}", style="yellow"))
    console.print(Text(report["scope"], style="dim"))


def _table(title: str, columns: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, show_header=any(columns), title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
