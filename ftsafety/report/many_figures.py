"""The headline figure of many cells: what each lost of its safety against what it lost of its task, a cross a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from ftsafety.report import words
from ftsafety.report.compare import Figure, Row
from ftsafety.report.many_drawing import SHAPES, Drawing, Scale, across_axis, around, down_axis, mark, pc, px, segment
from ftsafety.report.many_read import KEYWORD, TASKS, Line, short

HEIGHT = 420
CROWD, THRONG = 40, 300
"""More crosses than this are drawn see-through, and nearly so."""
ARROWS = 80
"""More arrows than this can't be told apart and are left out."""
BARE, OTHERS = "no mitigation", "others"


@dataclass(frozen=True)
class Point:
    """A row that has a difference, in the units of the axes' labels."""

    line: Line
    change: Figure
    score: Figure | None
    raw: float | None
    """The change of raw non-refusal; None where it was not measured or is the headline itself."""

    @classmethod
    def of(cls, line: Line, change: Figure) -> Point:
        """From a row and its difference."""
        score, raw = line.task, line.beside.raw(line.row, "change") if line.share and line.row.metric != KEYWORD else None
        unit = 100.0 if line.share else 1.0
        return cls(line, _times(change, unit), score and _times(score[1], 1.0 if score[0] in words.NOT_SHARES else 100.0), None if raw is None else raw * 100)


@dataclass(frozen=True)
class Plane:
    """Where a point lies: shares across and pixels down."""

    across: Scale
    down: Scale
    order: dict[int, int]
    """Row number to place, for rows without a task score."""

    def x(self, point: Point) -> float:
        """Share of the width."""
        return self.across.at(point.score.value if point.score else self.order[point.line.number])

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return (1 - self.down.at(value)) * HEIGHT


def headlines(lines: Sequence[Line]) -> list[Drawing]:
    """A figure for each benchmark, headline metric and task score among the rows that have a difference."""

    def kind(point: Point) -> tuple[str, str, str, str]:
        row = point.line.row
        return row.benchmark, str(row.judge), row.metric, point.line.task[0] if point.line.task else ""

    points = [Point.of(line, line.row.change) for line in lines if line.row.change]
    groups = [list(group) for _, group in groupby(sorted(points, key=kind), kind)]
    return [_headline(f"headline-{at}", group) for at, group in enumerate(groups, 1)]


def _headline(name: str, points: Sequence[Point]) -> Drawing:
    first, lines = points[0].line, [point.line for point in points]
    task = first.task[0] if first.task else None
    strip = _null(lines, 100.0 if first.share else 1.0)
    ups = [end for point in points for end in (point.change.low, point.change.high, point.raw or 0.0)]
    sides = [end for point in points if point.score for end in (point.score.low, point.score.high)]
    plane = Plane(around(sides) if task else Scale(0, len(points) + 1), around([*ups, *(strip or ())]), {line.number: at for at, line in enumerate(lines, 1)})
    by, groups = grouped(lines)
    parts = [*_axes(plane, first, task, points), *(_raw(plane, point) for point in points if point.raw is not None)]
    parts += [_cross(plane, point, groups[by(point.line)]) for point in points]
    pairs = _pairs(points)
    arrows = list(_arrows(plane, pairs, name)) if 0 < len(pairs) <= ARROWS else []
    says = f"{words.count(len(points), 'row').capitalize()} on {first.row.benchmark}, judge {first.row.judge}. Up: change in {short(first.row.metric)}. "
    says += f"Across: change in task score, here {TASKS[task]}." if task else "No task score was measured, so the rows stand in the table's order."
    if len(pairs) > ARROWS:
        says += f" The arrows of {len(pairs)} undefended and defended pairs are left out; give fewer folders to see them."
    if strip:
        bottom, top = map(plane.y, strip)
        band = Markup('<rect class="nullband" x="0" width="100%" y="{}" height="{}"/>').format(px(top), px(bottom - top))
        parts = [band, *parts]
    body = Markup('<g class="{}">{}</g>').format(
        "crowd throng" if len(points) > THRONG else "crowd" if len(points) > CROWD else "few", Markup("").join([*parts, *arrows])
    )
    title = f"Change in {short(first.row.metric)} on {first.row.benchmark}{' against change in task score' if task else ''}"
    return Drawing(name, title, says, HEIGHT, body, tuple(_legend(groups, strip, task is not None, any(p.raw is not None for p in points), bool(arrows))))


def grouped(lines: Sequence[Line]) -> tuple[Callable[[Line], str], dict[str, int]]:
    """What tells rows apart by shape and colour, and the shape of each value: the first of mitigation, attack, strategy and model that varies."""

    def named(group: str) -> Callable[[Line], str]:
        return lambda line: line.row.names.get(group, f"no {group}")

    ways = [lambda line: " + ".join(line.row.mitigations) or BARE, *map(named, ("attack", "strategy", "model"))]
    by = next((way for way in ways if len({way(line) for line in lines}) > 1), ways[1])
    values = sorted({by(line) for line in lines}, key=lambda value: (value != BARE, value))
    if len(values) <= len(SHAPES):
        return by, {value: at for at, value in enumerate(values)}
    kept = values[: len(SHAPES) - 1]
    return lambda line: by(line) if by(line) in kept else OTHERS, {value: at for at, value in enumerate([*kept, OTHERS])}


def _pairs(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """(undefended, defended) whose recipe, wording and benchmark are equal but for the mitigations."""
    bare = {_rest(point.line.row): point for point in points if not point.line.row.mitigations}
    return [(bare[_rest(point.line.row)], point) for point in points if point.line.row.mitigations and _rest(point.line.row) in bare]


def _arrows(plane: Plane, pairs: Sequence[tuple[Point, Point]], name: str) -> Iterator[Markup]:
    tip = Markup('<marker id="{}-tip" markerUnits="userSpaceOnUse" markerWidth="9" markerHeight="8" refX="16" refY="4" orient="auto">{}</marker>')
    yield tip.format(name, Markup('<path class="tip" d="M0,0L9,4L0,8z"/>'))
    for start, end in pairs:
        tipped = Markup(' marker-end="url(#{}-tip)"').format(name)
        yield segment("arrow", plane.x(start), plane.y(start.change.value), plane.x(end), plane.y(end.change.value), tipped)


def _rest(row: Row) -> tuple[object, ...]:
    kept = frozenset((name, value) for name, value in row.fields.items() if name.partition(".")[0] != "mitigation")
    return kept, row.ask


def _null(lines: Sequence[Line], unit: float) -> tuple[float, float] | None:
    """The widest of the rows' null bands."""
    bands = [line.row.band for line in lines if line.row.band]
    return (min(band.low for band in bands) * unit, max(band.high for band in bands) * unit) if bands else None


def _axes(plane: Plane, first: Line, task: str | None, points: Sequence[Point]) -> list[Markup]:
    share = first.share
    down = down_axis(plane.down, HEIGHT, f"change in {short(first.row.metric)}{', points' if share else ''} ↑", _signed)
    if task is None:
        ticks = [(plane.across.at(at + 1), str(points[at].line.number)) for at in range(0, len(points), -(-len(points) // 8))]
        return [*down, *across_axis(ticks, HEIGHT, "row of the table")]
    ticks = [(plane.across.at(tick), _signed(tick)) for tick in plane.across.ticks(7)]
    unit = "" if task in words.NOT_SHARES else ", points"
    return [*down, *across_axis(ticks, HEIGHT, f"change in {TASKS[task]}{unit} →", zero=plane.across.at(0))]


def _cross(plane: Plane, point: Point, group: int) -> Markup:
    line, x, y = point.line, plane.x(point), plane.y(point.change.value)
    says = f"{line.name}: {short(line.row.metric)} {words.change(line.entry('headline', 'change'), 0)}, {line.after}"
    reach = segment("reach", x, plane.y(point.change.low), x, plane.y(point.change.high))
    if point.score and line.task:
        value, low, high = (_moved(end, line.task[0] not in words.NOT_SHARES) for end in (point.score.value, point.score.low, point.score.high))
        says += f"; {TASKS[line.task[0]]} {value} [{low}, {high}]"
        reach += segment("reach", plane.across.at(point.score.low), y, plane.across.at(point.score.high), y)
    if line.row.beyond_null is not None:
        says += f"; {'' if line.row.beyond_null else 'not '}beyond its null band"
    return Markup('<g class="cross g{}" data-row="{}"><title>{}</title>{}{}</g>').format(group, line.number, says, reach, mark(group, pc(x), y))


def _raw(plane: Plane, point: Point) -> Markup:
    x, y = plane.x(point), plane.y(point.raw or 0.0)
    circle = Markup('<circle class="raw" cx="{}" cy="{}" r="4"><title>{}: not refused {} points</title></circle>')
    return segment("lift", x, plane.y(point.change.value), x, y) + circle.format(pc(x), px(y), point.line.name, _moved(point.raw or 0.0, share=True))


def _legend(groups: dict[str, int], strip: tuple[float, float] | None, scored: bool, raw: bool, arrows: bool) -> Iterator[tuple[Markup, str]]:
    for value, group in groups.items():
        yield mark(group, "9", 7), value
    reach = Markup('<line class="reach" x1="9" x2="9" y1="0" y2="14"/>') + (Markup('<line class="reach" x1="2" x2="16" y1="7" y2="7"/>') if scored else "")
    yield Markup('<g class="g0">{}</g>').format(reach), "95 % intervals"
    if raw:
        yield Markup('<circle class="raw" cx="9" cy="7" r="4"/>'), "not refused (keyword_asr), which counts nonsense, too"
    if strip:
        yield (
            Markup('<rect class="nullband" x="0" y="1" width="18" height="12"/>'),
            f"what null_self does: {_moved(strip[0], share=True)} to {_moved(strip[1], share=True)} points, the widest band",
        )
    if arrows:
        yield Markup('<line class="arrow" x1="0" x2="10" y1="7" y2="7"/><path class="tip" d="M9,3L18,7L9,11z"/>'), "undefended to defended, all else equal"


def _times(figure: Figure, unit: float) -> Figure:
    return Figure(figure.value * unit, figure.low * unit, figure.high * unit, figure.n, figure.covers, figure.p)


def _signed(number: float) -> str:
    """The number of a tick, which is round."""
    return f"{round(number, 9):+g}" if round(number, 9) else "0"


def _moved(number: float, share: bool) -> str:
    """Whole points of a share, and else two digits."""
    return f"{number:+.0f}" if share else f"{number:+.2f}"
