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
LEFT_OUT_FIRST = ("steps", "loss", "unscored", "utility", "refused")
"""Columns that a narrow terminal goes without, in this order."""
NAMED_WIDTH = (11, 22)
"""Least and most width of a column that says what a cell is."""


def show(found: Comparison, console: Console | None = None) -> None:
    """Print the rows, benchmark by benchmark, and what a reader has to know of them."""
    out = console or Console()
    if not out.is_terminal:
        out.width = WIDTH
    shown = found.rows[:SHOWN]
    missing: tuple[str, ...] = ()
    for benchmark, metric in dict.fromkeys((row.benchmark, row.metric) for row in shown):
        table, without = _fitting([row for row in shown if (row.benchmark, row.metric) == (benchmark, metric)], found.varied, out)
        missing = max(missing, without, key=len)
        out.print(table)
        out.print()
    if missing:
        out.print(Text(f"Left out of {out.width} columns: {', '.join(missing)}; a wider terminal shows them, and --csv has all.", style="dim"))
    for note in _notes(found):
        out.print(note)


def _fitting(rows: Sequence[Row], varied: Sequence[str], out: Console) -> tuple[Table, tuple[str, ...]]:
    """The table with as many columns as there is room for, and the names of those left out."""
    for count in range(len(LEFT_OUT_FIRST) + 1):
        table = _table(rows, varied, LEFT_OUT_FIRST[:count])
        if out.measure(table, options=out.options.update(max_width=10**4)).minimum <= out.width:
            break
    return table, LEFT_OUT_FIRST[:count]


def _table(rows: Sequence[Row], varied: Sequence[str], without: Sequence[str]) -> Table:
    metric = METRICS.get(rows[0].metric, rows[0].metric)
    title = f"{rows[0].benchmark} under the attack's own prompt, judge {rows[0].judge}, in %, before → after; the difference is of {metric!r}"
    table = Table(box=SIMPLE_HEAD, show_edge=False, title=Text(title, style="bold"), title_justify="left", pad_edge=False, padding=(0, 1), header_style="dim")
    here = [name for name in varied if any(name in row.varied for row in rows)] or ["attack"]
    for name in here:
        longest = max(len(word) for word in [name, *(_named(row, name, varied) for row in rows)])
        table.add_column(name, overflow="fold", min_width=min(longest, NAMED_WIDTH[0]), max_width=NAMED_WIDTH[1])
    numbers = [{"runs": str(row.runs), **_outcomes(row), **_tested(row), **_beside(row)} for row in rows]
    kept = [name for name in numbers[0] if name not in without]
    for name in kept:
        table.add_column(name, justify="right", no_wrap=True)
    for row, told in zip(rows, numbers, strict=True):
        table.add_row(*(Text(_named(row, name, varied)) for name in here), *(told[name] for name in kept))
    return table


def _named(row: Row, name: str, varied: Sequence[str]) -> str:
    return row.varied.get(name, "") if varied else row.names.get("attack", "no attack")


def _outcomes(row: Row) -> dict[str, str]:
    names = {"refused": "refused", "complied": "complied", "degen.": "degenerate", "unscored": "unscored"}
    if not row.outcomes:
        # this judge has one rate, and it is shown where compliance would be
        return {**dict.fromkeys(names, "–"), "complied": _arrow(row, "headline")}
    return {name: " → ".join(whole(share[outcome]) for share in row.outcomes.values()) for name, outcome in names.items()}


def _tested(row: Row) -> dict[str, Text | str]:
    change = row.change
    if change is None:
        return dict.fromkeys(("difference", "p, Holm", "null band"), "–")
    style = "" if change.low <= 0 <= change.high else "bold"
    return {
        "difference": Text(f"{change.value * 100:+.0f} [{change.low * 100:+.0f}, {change.high * 100:+.0f}]{'' if style else ' ≈'}", style=style),
        "p, Holm": "–" if row.p_holm is None else "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.2g}",
        "null band": f"[{row.band.low * 100:+.0f}, {row.band.high * 100:+.0f}]{' *' if row.beyond_null else ''}" if row.band else "–",
    }


def _beside(row: Row) -> dict[str, str]:
    return {
        "plain": _arrow(row, "plain"),
        "over-ref.": _arrow(row, "over_refusal"),
        "utility": _arrow(row, "utility") if "utility" in row.figures else _arrow(row, "utility_loss", share=False),
        "loss": "–" if row.loss is None else f"{row.loss:.2f}",
        "steps": "–" if row.steps is None else f"{row.steps:g}",
    }


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
