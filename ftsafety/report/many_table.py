"""The comparison's table for a page: the terminal's columns, each cell with what it sorts by, and in words what can't be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ftsafety.report import probe_figures, words
from ftsafety.report.many_read import Line, short

Key = float | str | None
UNSEPARATED = "not separable from no change"
OUTCOMES = {"refused": "refused", "complied": "complied", "degenerate": "degen.", "unscored": "unscored"}


@dataclass(frozen=True)
class Cell:
    """What is read, what is sorted by (None comes last), and a word below."""

    text: str
    by: Key
    note: str = ""


@dataclass(frozen=True)
class Table:
    """The rows of one benchmark and metric."""

    title: str
    settings: list[str]
    numbers: list[str]
    lines: list[tuple[Line, list[Cell], list[Cell]]]
    """A line, its settings, its numbers."""


def tables(lines: Sequence[Line], varied: Sequence[str]) -> list[Table]:
    """A table for each benchmark and headline metric, as in the terminal."""
    kinds = dict.fromkeys((line.row.benchmark, line.row.metric) for line in lines)
    return [_table([line for line in lines if (line.row.benchmark, line.row.metric) == kind], varied) for kind in kinds]


def _table(lines: Sequence[Line], varied: Sequence[str]) -> Table:
    first = lines[0]
    here = [name for name in varied if any(name in line.row.varied for line in lines)]
    columns: dict[str, Callable[[Line], Cell]] = {"runs": lambda line: Cell(str(line.row.runs), line.row.runs)}
    if any(line.row.outcomes for line in lines):
        columns |= {title: _outcome(name) for name, title in OUTCOMES.items()}
    else:
        columns[short(first.row.metric)] = _arrow("headline")
    columns |= {"difference": _difference, "p, Holm": _holm, "null band": _band, "plain": _arrow("plain"), "over-ref.": _arrow("over_refusal")}
    columns |= {"utility": _utility, "loss": _loss, "steps": _steps}
    if any(line.beside.readings for line in lines):
        columns["half-life, steps"] = _half_life
    title = f"{first.row.benchmark} under the attack's own prompt, judge {first.row.judge}, {'in %, ' if first.share else ''}before → after"
    return Table(title, here or ["attack"], list(columns), [(line, _settings(line, here), [column(line) for column in columns.values()]) for line in lines])


def _settings(line: Line, names: Sequence[str]) -> list[Cell]:
    said = [line.row.varied.get(name, "") for name in names] or [line.row.label]
    return [Cell(text, _number(text)) for text in said]


def _outcome(name: str) -> Callable[[Line], Cell]:
    def cell(line: Line) -> Cell:
        shares = [share[name] for share in line.row.outcomes.values()]
        return Cell(" → ".join(map(words.whole, shares)) or "–", shares[-1] if shares else None)

    return cell


def _arrow(measure: str) -> Callable[[Line], Cell]:
    def cell(line: Line) -> Cell:
        entries = [entry for part in ("before", "after") if (entry := line.entry(measure, part))]
        return Cell(" → ".join(words.value(entry, 0) for entry in entries) or "–", entries[-1]["value"] if entries else None)

    return cell


def _difference(line: Line) -> Cell:
    entry = line.entry("headline", "change")
    return Cell(words.change(entry, 0), entry["value"] if entry else None, UNSEPARATED if words.unseparated(entry) else "")


def _holm(line: Line) -> Cell:
    p = line.row.p_holm
    return Cell("–" if p is None else words.p_value({"n": 1, "p_value": p}), p)


def _band(line: Line) -> Cell:
    band = line.row.band
    if band is None:
        return Cell("–", None)
    return Cell(f"[{band.low * 100:+.0f}, {band.high * 100:+.0f}]", band.high, "difference beyond it" if line.row.beyond_null else "difference not beyond it")


def _utility(line: Line) -> Cell:
    return _arrow("utility" if "utility" in line.row.figures else "utility_loss")(line)


def _loss(line: Line) -> Cell:
    return Cell("–" if line.row.loss is None else f"{line.row.loss:.2f}", line.row.loss)


def _steps(line: Line) -> Cell:
    return Cell("–" if line.row.steps is None else f"{line.row.steps:g}", line.row.steps)


def _half_life(line: Line) -> Cell:
    if not line.beside.readings:
        return Cell("–", None)
    found = probe_figures.of_readings(line.beside.readings)
    note = f"of seed {next(iter(line.beside.homes))}" if line.row.runs > 1 else ""
    return Cell(probe_figures.told(found, ""), found.steps if found else None, note)


def _number(text: str) -> Key:
    try:
        return float(text)
    except ValueError:
        return text or None
