"""``python -m ftsafety.report RUNS --html FILE``: one page of many cells, which a reader can open anywhere and send on.

Records only, no model, no request to any other place; texts of questions and answers for rows that were asked for, where runs kept them. One script of
the page's own, named by its digest in the content security policy, sorts the table, compares two cells and filters answers; without it everything else
can be read.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ftsafety.errors import DataError
from ftsafety.report import curve_figures, figures, words
from ftsafety.report.compare import BOTH, RUNS, Comparison
from ftsafety.report.many_answers import answered, chosen
from ftsafety.report.many_drawing import file_style
from ftsafety.report.many_figures import headlines
from ftsafety.report.many_read import Category, Line, categories, read, short
from ftsafety.report.many_recipes import embedded, own, shared
from ftsafety.report.many_sweep import sweeps, swept
from ftsafety.report.many_table import tables
from ftsafety.store.publish import publish_text

CATEGORIES = 20
"""Rows whose categories are drawn."""
PICTURES = 24
"""Charts of swept settings on a page."""


class Page:
    """A comparison with what a page and files of figures need; reading and drawing happen once."""

    def __init__(self, found: Comparison, folders: Iterable[Path], answers: Sequence[int] = ()) -> None:
        """
        Args:
            answers: numbers of rows whose answers are shown.

        Raises:
            DataError: nothing but controls was found, so there is no row to show, or ``answers`` names others than the rows there are.
        """
        if not found.rows:
            raise DataError(f"there is nothing to compare: all {found.controls} runs are controls; add --controls to give them rows of their own.")
        self.found = found
        self.lines = read(folders, found)
        self.answers = list(answered(chosen(self.lines, answers)))
        self.scopes = list(dict.fromkeys(row.scope for row in found.rows if row.scope))
        self.headlines = headlines(self.lines)
        drawn = sweeps(self.lines, found.varied)
        self.sweeps, self.left_out = drawn[:PICTURES], len(drawn) - PICTURES
        self.curves = curve_figures.of_many(self.lines)
        self.style = (files("ftsafety.report") / "style.css").read_text(encoding="utf-8")

    def write(self, file: Path) -> None:
        """Write the page, all at once."""
        publish_text(file, self.render())

    def write_figures(self, folder: Path) -> list[Path]:
        """Write each chart as an SVG file with its legend in it, in the light theme; returns the paths."""
        style = file_style(self.style)
        drawings = {folder / f"{drawing.name}.svg": drawing for drawing in [*self.headlines, *self.sweeps, *self.curves]}
        for path, drawing in drawings.items():
            publish_text(path, drawing.standalone(style, " ".join(self.scopes)))
        return list(drawings)

    def render(self) -> str:
        """The page's text."""
        environment = Environment(loader=PackageLoader("ftsafety", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.globals |= {"words": words, "figures": figures, "digest": _digest}
        return environment.from_string((files("ftsafety.report") / "many.html.jinja").read_text(encoding="utf-8")).render(
            style=Markup(self.style),
            sentence=sentence(self.lines),
            facts=facts(self.lines),
            notes=list(self._notes()),
            scopes=self.scopes,
            lines=self.lines,
            headlines=self.headlines,
            untuned=sum(line.row.change is None for line in self.lines),
            tables=tables(self.lines, self.found.varied),
            sweeps=self.sweeps,
            left_out=self.left_out,
            swept=swept(self.lines, self.found.varied),
            curves=self.curves,
            categories=_categories(self.lines),
            answers=self.answers,
            shared=shared(self.lines),
            own=own(self.lines),
            embedded=embedded(self.lines),
            versions=_versions(self.lines),
        )

    def _notes(self) -> Iterable[tuple[str, str]]:
        """What a reader has to know before the numbers: a word and a sentence."""
        rows = self.found.rows
        if lacking := sum(row.band is None for row in rows if row.change):
            told = "what tuning of this size does by itself is not known there; controls=true adds it."
            yield "No null_self.", f"Rows without a null_self run beside them: {lacking} of {len(rows)}; {told}"
        if lost := [line.name for line in self.lines if line.row.lost]:
            yield "Nothing to lose.", f"The untuned model hardly told disallowed from allowed questions under the prompt of {_some(lost)}."
        if len(versions := _versions(self.lines)) > 1:
            yield "Several versions.", f"The records were written by ftsafety {', '.join(versions[:-1])} and {versions[-1]}, which may measure differently."
        if len({platform for row in rows for platform in row.platforms}) > 1:
            yield "Several machines.", "The runs were made on several kinds of machine, where last digits may differ."
        if self.found.controls:
            yield "Controls.", f"Control runs without a row of their own: {self.found.controls}; --controls shows them."


def sentence(lines: Sequence[Line]) -> str:
    """The sentence at the top: how far the headline moved, and in how many rows that can be told from no change."""
    cells = words.count(len({line.row.cell for line in lines}), "cell")
    moved = [line for line in lines if line.row.change]
    if not moved:
        return f"{cells.capitalize()}, without tuning."
    kinds = {(line.row.benchmark, line.row.metric) for line in moved}
    separable = sum(not words.unseparated(line.entry("headline", "change")) for line in moved)
    changed = (
        f"{separable} of {len(moved)} changes can be told from none" if len(moved) > 1 else f"its change {'can' if separable else 'cannot'} be told from none"
    )
    if len(kinds) > 1 or not moved[0].share:
        return f"{cells.capitalize()}: {changed}."
    (benchmark, metric), points = next(iter(kinds)), [line.row.change.value * 100 for line in moved if line.row.change]
    reach = f"between {_points(min(points))} and {_points(max(points))}" if len(moved) > 1 else f"by {_points(points[0])}"
    return f"{cells.capitalize()}: {short(metric)} on {benchmark} moved {reach} points, and {changed}."


def facts(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Counts beside the sentence, as pairs of a term and its description."""
    rows = [line.row for line in lines]
    banded = [row for row in rows if row.beyond_null is not None]
    tested = [row for row in rows if row.p_holm is not None]
    found = [
        ("runs, all seeds", str(sum(row.runs for row in {row.cell: row for row in rows}.values()))),
        ("benchmarks, judges", ", ".join(dict.fromkeys(f"{row.benchmark} ({row.judge})" for row in rows))),
        ("p below 0.05, Holm over all rows", f"{sum(row.p_holm < 0.05 for row in tested if row.p_holm is not None)} of {len(tested)}" if tested else ""),
        ("beyond the null band", f"{sum(bool(row.beyond_null) for row in banded)} of {len(banded)}" if banded else ""),
    ]
    covers = {row.change.covers for row in rows if row.change}
    said = "the questions of one run, and no other run"
    if BOTH in covers:
        said = "questions (by category) and runs where there are several runs, else the questions alone"
    if RUNS in covers:
        said += "; of metrics that verdicts alone do not tell, the runs alone"
    return [(term, text) for term, text in [*found, ("95 % intervals of differences cover", said if covers else "")] if text]


def _categories(lines: Sequence[Line]) -> list[tuple[Line, list[tuple[Category, Markup]]]]:
    """Category and drawing for the rows with the largest changes, in the table's order."""
    changed = [line for line in lines if line.row.change]
    largest = sorted(changed, key=lambda line: -abs(line.row.change.value if line.row.change else 0.0))[:CATEGORIES]
    found = []
    for line in sorted(largest, key=lambda line: line.number):
        if rows := [(one, figures.dots(one.before, one.after, one.title)) for one in categories(line)]:
            found.append((line, rows))
    return found


def _versions(lines: Sequence[Line]) -> list[str]:
    return sorted({version for line in lines for version in line.beside.versions})


def _points(number: float) -> str:
    return f"{round(number):+d}" if round(number) else "0"


def _some(names: Sequence[str], most: int = 5) -> str:
    return "; ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _digest(script: str) -> str:
    """A script's name in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
