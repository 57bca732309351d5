"""``python -m ftsafety.report RUNS... --expect qi2024/table2``: a paper's table beside ours, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ftsafety.report.expect import Table, Told, by_model, read, runs_of
from ftsafety.report.terminal import WIDTH
from ftsafety.stats import Estimate

STYLES = {"replicated": "green", "not replicated": "red", "not comparable": "yellow"}


def show(expected: str, folders: Sequence[Path], console: Console | None = None) -> None:
    """Print the expected tables for each model that has a run; fits 100 columns.

    Raises:
        ConfigError: no such table.
        DataError: no finished run.
    """
    tables, paper = read(expected)
    runs = runs_of(folders)
    out = console or Console()
    if not out.is_terminal or out.width > WIDTH:
        out.width = WIDTH
    found = [(model, replace(table, groups=groups)) for model, groups in by_model(runs).items() for table in tables]
    with_rows = [(model, table) for model, table in found if any(table.fitting(row) for row in table.data["rows"])]
    for model, table in with_rows:
        _show(out, table, model)
    for table in tables:
        if table.name not in {shown.name for _, shown in with_rows}:
            out.print(Text(f"{table.name}: no finished run fits. Its experiments: {', '.join(table.data['experiments'])}.", style="yellow"))
    out.print(Text(f"{paper['source']}.", style="dim"))
    marks = "; ".join(f"{mark} {meaning}" for mark, meaning in paper["confidence"].items())
    out.print(Text(f"Where a number is from: {marks}.", style="dim"))


def _show(out: Console, table: Table, model: str) -> None:
    notes: list[str] = []
    out.print(Text(f"{table.name}: {table.data['title']}", style="bold"))
    out.print(Text(f"Qi et al. 2024, {table.data['source']}; {table.data['kind']}, in %. Ours: model {model}", style="dim"))
    if scope := next((group.data["scope"]["text"] for group in table.groups if group.data["scope"]["text"]), ""):
        out.print(Text(scope, style="dim"))
    out.print(_rows(table, notes))
    out.print(_contrasts(table))
    for number, note in enumerate(notes, 1):
        out.print(Text(f"({number}) {note}"))
    if table.data["history"]:
        told = [f"{one['label']} {_paper(one['paper']['rate'])}" for one in table.data["history"]]
        out.print(Text(f"History, no longer to be had: {'; '.join(told)}.", style="dim"))
    out.print()


def _rows(table: Table, notes: list[str]) -> Grid:
    grid = _grid(("row", "paper", "from", "ours", "n", "seeds", "beside the paper"))
    for row in table.data["rows"]:
        found = table.fitting(row)
        paper = [row["label"], _paper(row["paper"]["rate"]), row["confidence"]]
        if not found:
            grid.add_row(*paper, "–", "", "", "no run")
            continue
        group, told = found[0], table.beside(found[0], row)
        estimate = table.estimate(group, row)
        others = [other.data["cell"] for other in found[1:]] if row["weights"] != "initial" else []
        reasons = [*told.reasons, *([f"also fitting, and left out here: {', '.join(others)}"] if others else [])]
        marks = ", ".join(str(_number(reason, notes)) for reason in reasons)
        verdict = Text(told.verdict, style=STYLES[told.verdict]).append(f" ({marks})" if marks else "", style="default")
        grid.add_row(*paper, _percent(estimate), str(estimate.n), str(len(group.runs)), verdict)
    return grid


def _contrasts(table: Table) -> Grid:
    grid = _grid(("contrast of the paper", "difference, points", "p", "verdict"))
    for contrast in table.data["contrasts"]:
        told = table.contrast(contrast)
        grid.add_row(contrast["says"], _points(told.difference), _p(told.difference), _verdict(told))
    return grid


def _verdict(told: Told) -> Text:
    text = Text(told.verdict, style=STYLES[told.verdict])
    return text.append(f": {'; '.join(told.reasons)}", style="default") if told.reasons else text


def _grid(titles: Sequence[str]) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        grid.add_column(title)
    return grid


def _number(reason: str, notes: list[str]) -> int:
    if reason not in notes:
        notes.append(reason)
    return notes.index(reason) + 1


def _paper(rate: float | list[float] | None) -> str:
    if rate is None:
        return "–"
    return " / ".join(f"{value:g}" for value in rate) if isinstance(rate, list) else f"{rate:.1f}"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value * 100:.1f} [{estimate.low * 100:.1f}, {estimate.high * 100:.1f}]"


def _points(difference: Estimate | None) -> str:
    if difference is None:
        return "–"
    return f"{difference.value * 100:+.1f} [{difference.low * 100:+.1f}, {difference.high * 100:+.1f}]"


def _p(difference: Estimate | None) -> str:
    if difference is None or difference.p_value is None:
        return "–"
    return "<0.001" if difference.p_value < 0.001 else f"{difference.p_value:.2g}"
