"""A comparison in the terminal: a line a cell, before → after, with the paired difference and the null band beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety.report.compare import BOTH, RUNS, Comparison, Figure, Row
from ftsafety.report.words import METRICS, whole

WIDTH = 168
SHOWN = 200
"""Rows on one screen; files have them all."""


def show(found: Comparison, console: Console | None = None) -> None:
    """Print the rows, benchmark by benchmark, and what a reader has to know of them."""
    out = console or Console()
    if not out.is_terminal:
        out.width = WIDTH
    shown = found.rows[:SHOWN]
    for benchmark, metric in dict.fromkeys((row.benchmark, row.metric) for row in shown):
        out.print(_table([row for row in shown if (row.benchmark, row.metric) == (benchmark, metric)], found.varied))
        out.print()
    for note in _notes(found):
        out.print(note)


def _table(rows: Sequence[Row], varied: Sequence[str]) -> Table:
    metric = METRICS.get(rows[0].metric, rows[0].metric)
    title = f"{rows[0].benchmark} under the attack's own prompt, judge {rows[0].judge}, in %, before → after; the difference is of {metric!r}"
    table = Table(box=SIMPLE_HEAD, show_edge=False, title=Text(title, style="bold"), title_justify="left", pad_edge=False, padding=(0, 1), header_style="dim")
    here = [name for name in varied if any(name in row.varied for row in rows)] or ["attack"]
    for name in here:
        table.add_column(name, overflow="fold", max_width=22)
    table.add_column("runs", justify="right", no_wrap=True)
    for name in ("refused", "complied", "degen.", "unscored", "difference", "p, Holm", "null band", "plain", "over-ref.", "utility", "loss", "steps"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        named = [Text(row.varied.get(name, "") if varied else row.names.get("attack", "no attack")) for name in here]
        table.add_row(*named, str(row.runs), *_outcomes(row), *_tested(row), *_beside(row))
    return table


def _outcomes(row: Row) -> Iterator[str]:
    if not row.outcomes:
        # this judge has one rate, and it is shown where compliance would be
        yield from ("–", _arrow(row, "headline"), "–", "–")
        return
    for name in ("refused", "complied", "degenerate", "unscored"):
        yield " → ".join(whole(share[name]) for share in row.outcomes.values())


def _tested(row: Row) -> Iterator[Text | str]:
    change = row.change
    if change is None:
        yield from ("–", "–", "–")
        return
    style = "" if change.low <= 0 <= change.high else "bold"
    yield Text(f"{change.value * 100:+.0f} [{change.low * 100:+.0f}, {change.high * 100:+.0f}]{'' if style else ' ≈'}", style=style)
    yield "–" if row.p_holm is None else "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.2g}"
    yield f"[{row.band.low * 100:+.0f}, {row.band.high * 100:+.0f}]{' *' if row.beyond_null else ''}" if row.band else "–"


def _beside(row: Row) -> Iterator[str]:
    yield _arrow(row, "plain")
    yield _arrow(row, "over_refusal")
    yield _arrow(row, "utility") if "utility" in row.figures else _arrow(row, "utility_loss", share=False)
    yield "–" if row.loss is None else f"{row.loss:.2f}"
    yield "–" if row.steps is None else f"{row.steps:g}"


def _arrow(row: Row, measure: str, share: bool = True) -> str:
    figures = row.figures.get(measure, {})
    return " → ".join(_short(figures[part], share) for part in ("before", "after") if part in figures) or "–"


def _short(figure: Figure, share: bool) -> str:
    return whole(figure.value) if share else f"{figure.value:.2f}"


def _notes(found: Comparison) -> Iterator[Text]:
    rows = found.rows
    if len(rows) > SHOWN:
        yield Text(f"{len(rows) - SHOWN} more rows are not shown; --csv, --parquet and --latex have all {len(rows)}.", style="yellow")
    covers = {row.change.covers for row in rows if row.change}
    if covers:
        told = "A difference's 95 % interval covers the draw of the questions of one run, and no other run."
        if BOTH in covers:
            told = "A difference's 95 % interval covers questions (by category) and runs where there are several runs, and else the questions alone."
        if RUNS in covers:
            told += " Of metrics that verdicts alone do not tell it covers the runs alone."
        yield Text(told, style="dim")
    if any(row.change and row.change.low <= 0 <= row.change.high for row in rows):
        yield Text("≈: the interval covers zero, so the cell can't be told from no change, and cells like it are not to be ranked.", style="dim")
    if any(row.band for row in rows):
        yield Text("null band: what tuning on the model's own answers (null_self) does to the same cell; *: the difference lies beyond it.", style="dim")
    lacking = sum(row.band is None for row in rows if row.change)
    if lacking:
        told = f"{lacking} of {len(rows)} rows have no null_self beside them, so what any tuning of this size does is not known; add controls=true."
        yield Text(told, style="yellow")
    if lost := [row.label for row in rows if row.lost]:
        yield Text(f"Nothing to lose: the untuned model hardly told disallowed from allowed questions under the prompt of {_some(lost)}.", style="yellow")
    if len({platform for row in rows for platform in row.platforms}) > 1:
        yield Text("The runs were made on several kinds of machine, where last digits may differ.", style="yellow")
    if found.controls:
        yield Text(f"Control runs without a row of their own: {found.controls}; --controls shows them.", style="dim")
    for scope in dict.fromkeys(row.scope for row in rows if row.scope):
        yield Text(scope, style="italic")


def _some(labels: Sequence[str], most: int = 5) -> str:
    named = list(dict.fromkeys(labels))
    return "; ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")
