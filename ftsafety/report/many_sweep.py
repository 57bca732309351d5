"""What a swept setting does: a line with interval bars for one setting of numbers, a heat map for two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from markupsafe import Markup

from ftsafety.report import words
from ftsafety.report.many_drawing import LEFT, RIGHT, SHAPES, Drawing, Scale, across_axis, down_axis, mark, pc, px, segment, words_at
from ftsafety.report.many_read import Line, short, told

HEIGHT, SQUARE = 300, 46
"""Pixels of a line chart, and of a square downwards."""
LEAST = 34
"""Pixels of a square across, below which a heat map scrolls."""
DECADES = 20.0
"""A setting whose values span more than this factor is drawn on a logarithmic axis."""
STRONGEST, MUCH = 0.75, 0.85
"""Opacity of the strongest colour, so that a number can be read on it; and the share from which on dark paper it needs dark ink."""
APART = 7.0
"""Pixels between two series at the same value."""


def swept(lines: Sequence[Line], varied: Sequence[str]) -> list[str]:
    """The settings that vary and whose values are numbers, in reading order; a row may lack one."""
    values = {name: {line.row.varied[name] for line in lines if name in line.row.varied} for name in varied}
    return [name for name, its in values.items() if len(its) > 1 and all(map(_is_number, its))]


def sweeps(lines: Sequence[Line], varied: Sequence[str]) -> list[Drawing]:
    """Heat maps where two settings of numbers vary, lines where one does, nothing otherwise; a picture for each of the other settings that vary."""
    names = swept(lines, varied)
    fits = [line for line in lines if "after" in line.row.figures["headline"] and all(name in line.row.varied for name in names)]
    if len(names) == 2:
        panels = [panel for panel in _by(fits, lambda line: (_kind(line), _others(line, names))) if len(panel) > 1]
        return [_heat(f"sweep-{at}", panel, names) for at, panel in enumerate(panels, 1)]
    if len(names) == 1:
        # undefended first, so that it has the shape and colour that it has in the headline figure
        first = sorted(fits, key=lambda line: bool(line.row.mitigations))
        series = [_by(chart, lambda line: _others(line, names)) for chart in _by(first, _kind)]
        parts = [one[at : at + len(SHAPES)] for one in series for at in range(0, len(one), len(SHAPES))]
        return [_lines(f"sweep-{at}", part, names[0]) for at, part in enumerate(parts, 1)]
    return []


def _heat(name: str, lines: Sequence[Line], names: Sequence[str]) -> Drawing:
    """Compliance after tuning, a square a row; the setting with fewer values goes down."""
    down, across = sorted(names, key=lambda one: len({line.row.varied[one] for line in lines}))
    rows, columns = (sorted({line.row.varied[one] for line in lines}, key=float) for one in (down, across))
    squares: dict[tuple[str, str], Line] = {}
    for line in lines:
        squares.setdefault((line.row.varied[down], line.row.varied[across]), line)
    values = [line.row.figures["headline"]["after"].value for line in lines]
    low, high = (0.0, 1.0) if lines[0].share else (min(values), max(values))
    width, height = 1 / len(columns), SQUARE * len(rows)
    parts = [words_at(f"{down} ↓", 0, -16, "start", "axis-title", -LEFT + 6)]
    for at, value in enumerate(rows):
        parts.append(words_at(value, 0, at * SQUARE + SQUARE / 2 + 4, "end", shift=-8))
        for place, other in enumerate(columns):
            where = (place * width, at * SQUARE, width)
            parts.append(_square(squares[value, other], where, (low, high)) if (value, other) in squares else _absent(where))
    parts += [words_at(other, (place + 0.5) * width, height + 18) for place, other in enumerate(columns)]
    parts.append(words_at(f"{across} →", 1, height + 40, "end", "axis-title"))
    says = f"{_sentence(lines[0])} by {down} and {across}; a square a cell, the stronger its colour the more. " + _span(lines)
    if doubled := len(lines) - len(squares):
        says += f" {words.count(doubled, 'more row').capitalize()} would lie in a square that is taken and can be found in the table."
    title = f"{short(lines[0].row.metric).capitalize()} after tuning on {lines[0].row.benchmark}{_told_others(lines[0], names)}"
    return Drawing(name, title, says, height, Markup("").join(parts), least=len(columns) * LEAST + LEFT + RIGHT)


def _square(line: Line, where: tuple[float, float, float], reach: tuple[float, float]) -> Markup:
    after = line.row.figures["headline"]["after"]
    x, y, width = where
    share = (after.value - reach[0]) / ((reach[1] - reach[0]) or 1.0)
    number = words.whole(after.value) if line.share else f"{after.value:.2f}"
    square = Markup('<g class="heat" data-row="{}"><title>{}: {}</title><rect x="{}" y="{}" width="{}" height="{}" fill-opacity="{}"/>{}</g>')
    text = words_at(number, x + width / 2, y + SQUARE / 2 + 4.5, kind="much" if share > MUCH else "some")
    return square.format(line.number, line.name, line.after, pc(x), px(y), pc(width), SQUARE, f"{share * STRONGEST:.3f}", text)


def _absent(where: tuple[float, float, float]) -> Markup:
    x, y, width = where
    return Markup("<g><title>not run</title>{}</g>").format(words_at("–", x + width / 2, y + SQUARE / 2 + 4.5))


def _lines(name: str, series: Sequence[Sequence[Line]], setting: str) -> Drawing:
    """The headline after tuning against one setting, a line for each combination of the others."""
    lines = [line for one in series for line in one]
    first = lines[0]
    unit = 100.0 if first.share else 1.0
    values = sorted({line.row.varied[setting] for line in lines}, key=float)
    numbers = [float(value) for value in values]
    log = numbers[0] > 0 and numbers[-1] / numbers[0] > DECADES
    across = _roomy(Scale(numbers[0], numbers[-1], log))
    down = Scale(0, 100) if first.share else _reach(lines)
    parts = down_axis(down, HEIGHT, f"{short(first.row.metric)} after{', %' if first.share else ''} ↑")
    parts += across_axis(_not_crowded([(across.at(number), value) for number, value in zip(numbers, values, strict=True)]), HEIGHT, f"{setting} →")

    def y(value: float) -> float:
        return (1 - down.at(value * unit)) * HEIGHT

    befores = {round(line.row.figures["headline"]["before"].value, 6) for line in lines if "before" in line.row.figures["headline"]}
    if len(befores) == 1:
        parts.append(segment("untuned", 0, y(min(befores)), 1, y(min(befores))))
    for group, one in enumerate(series):
        ordered = sorted(one, key=lambda line: float(line.row.varied[setting]))
        parts.append(_one_series(ordered, group, (group - (len(series) - 1) / 2) * APART, setting, across, y))
    legend = [(mark(group, "9", 7), _told_others(one[0], [setting], "") or "after tuning") for group, one in enumerate(series)]
    if len(befores) == 1:
        legend.append((Markup('<line class="untuned" x1="0" x2="18" y1="7" y2="7"/>'), "before tuning"))
    says = f"{_sentence(first)} by {setting}, with 95 % intervals{'; the axis is logarithmic' if log else ''}. {_span(lines)}"
    title = f"{short(first.row.metric).capitalize()} after tuning on {first.row.benchmark} by {setting}"
    return Drawing(name, title, says, HEIGHT, Markup("").join(parts), tuple(legend))


def _one_series(lines: Sequence[Line], group: int, shift: float, setting: str, across: Scale, y: Callable[[float], float]) -> Markup:
    afters = [line.row.figures["headline"]["after"] for line in lines]
    places = [(across.at(float(line.row.varied[setting])), y(after.value)) for line, after in zip(lines, afters, strict=True)]
    parts = [segment("join", *here, *there) for here, there in pairwise(places)]
    for line, after, (x, up) in zip(lines, afters, places, strict=True):
        point = segment("reach", x, y(after.low), x, y(after.high)) + mark(group, pc(x), up)
        parts.append(Markup('<g class="cross" data-row="{}"><title>{}: {}</title>{}</g>').format(line.number, line.name, line.after, point))
    return Markup('<g class="g{}" transform="translate({} 0)">{}</g>').format(group, px(shift), Markup("").join(parts))


def _roomy(scale: Scale) -> Scale:
    """With a twelfth more at both ends, so that no mark lies on an edge."""
    if scale.log:
        more = (scale.high / scale.low) ** (1 / 12)
        return Scale(scale.low / more, scale.high * more, log=True)
    more = (scale.high - scale.low) / 12 or 1.0
    return Scale(scale.low - more, scale.high + more)


def _reach(lines: Sequence[Line]) -> Scale:
    figures = [figure for line in lines for part, figure in line.row.figures["headline"].items() if part != "change"]
    low, high = min(figure.low for figure in figures), max(figure.high for figure in figures)
    return Scale(low, high) if high > low else Scale(low - 1, high + 1)


def _not_crowded(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without those that would lie on the one before them."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if not kept or tick[0] - kept[-1][0] > 0.08:
            kept.append(tick)
    return kept


def _kind(line: Line) -> tuple[str, str, str]:
    return line.row.benchmark, str(line.row.judge), line.row.metric


def _others(line: Line, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in line.row.varied.items() if name not in (*names, "benchmark"))


def _told_others(line: Line, names: Sequence[str], lead: str = ": ") -> str:
    said = ", ".join(f"{name} {value}" for name, value in _others(line, names))
    return f"{lead}{said}" if said else ""


def _by(lines: Sequence[Line], key: Callable[[Line], object]) -> list[list[Line]]:
    groups: dict[object, list[Line]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return list(groups.values())


def _sentence(line: Line) -> str:
    return f"{short(line.row.metric).capitalize()} after tuning on {line.row.benchmark}, judge {line.row.judge}{', in %' if line.share else ''},"


def _span(lines: Sequence[Line]) -> str:
    ordered = sorted(lines, key=lambda line: line.row.figures["headline"]["after"].value)
    return f"Least {told(ordered[0].entry('headline', 'after'))}, most {told(ordered[-1].entry('headline', 'after'))}."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
