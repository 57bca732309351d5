"""A chart as inline SVG and as a file: percent coordinates across, pixels down, so that text keeps its size at every width.

The page and a file hold the same shapes. The page colours them by its style sheet's variables, light and dark; in a file the
light theme's values stand in place of the variables, since editors and LaTeX converters know none. Groups differ in shape and in colour.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

LEFT, RIGHT, TOP, BOTTOM = 56, 20, 34, 50
"""Pixels around a chart's plane; ``.chart`` in style.css has the same."""
FILE_WIDTH, LINE, WIDE = 640, 20, 7
"""Pixels of a plane, of a line of text down and of a letter across in a file."""
CHARTS = "/* charts */"
"""Where the rules for charts begin in style.css."""
SHAPES = ("M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z", "M-4.5,-4.5h9v9h-9z", "M0,-5.5L5.5,4.5H-5.5z", "M0,-6L6,0L0,6L-6,0z", "M0,5.5L5.5,-4.5H-5.5z",
          "M-1.8,-5.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7v-3.6h3.7z")  # fmt: skip
"""Disc, square, triangle, diamond, triangle upside down, plus: about ten pixels each."""


@dataclass(frozen=True)
class Scale:
    """From a number to a share of an axis."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, here = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        return (here - low) / (high - low)

    def ticks(self, most: int) -> list[float]:
        """Round numbers 1, 2 or 5 times a power of ten apart, about ``most`` of them."""
        raw = (self.high - self.low) / most
        power = 10 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
        return [at * step for at in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def around(values: Sequence[float], room: float = 0.06) -> Scale:
    """A linear scale on which all values and zero lie, with some room at both ends."""
    low, high = min(0.0, *values), max(0.0, *values)
    more = (high - low or 1.0) * room
    return Scale(low - more, high + more)


@dataclass(frozen=True)
class Drawing:
    """A chart with its words; ``legend`` pairs a mark, drawn around (9, 7), with what it means."""

    name: str
    title: str
    says: str
    height: int
    body: Markup
    legend: tuple[tuple[Markup, str], ...] = ()
    least: int = 0
    """Pixels below which the chart scrolls sideways."""

    @property
    def inline(self) -> Markup:
        """For the page."""
        frame = Markup(
            '<div class="chart"{}><svg width="100%" height="{}" role="img" aria-labelledby="{}-title {}-says"><title id="{}-title">{}</title>'
            '<desc id="{}-says">{}</desc>{}</svg></div>'
        )
        wide = Markup(' style="min-width:{}px"').format(self.least) if self.least else ""
        return frame.format(wide, self.height, self.name, self.name, self.name, self.title, self.name, self.says, self.body)

    @property
    def key(self) -> Markup:
        """The legend for the page; empty where there is nothing to tell apart."""
        items = [Markup('<li><svg class="key" width="18" height="14" aria-hidden="true">{}</svg>{}</li>').format(mark, text) for mark, text in self.legend]
        return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items)) if items else Markup("")

    def standalone(self, style: str, scope: str) -> Markup:
        """For a file: below the chart its legend, its title and the scope, which travels with every number; ``style`` is that of ``file_style``."""
        width = max(FILE_WIDTH, self.least)
        legend = [Markup('<svg width="18" height="14" overflow="visible">{}</svg><text x="28" y="11.5">{}</text>').format(*entry) for entry in self.legend]
        said = [words_at(text, 0, 11.5, "start", "axis-title") for text in textwrap.wrap(self.title, width // WIDE)]
        said += [words_at(text, 0, 11.5, "start") for text in textwrap.wrap(scope, width // WIDE)]
        top = TOP + self.height + BOTTOM
        below = [Markup('<g transform="translate({} {})">{}</g>').format(LEFT, top + at * LINE, one) for at, one in enumerate([*legend, *said])]
        body = Markup('<svg x="{}" y="{}" width="{}" height="{}" overflow="visible">{}</svg>').format(LEFT, TOP, width, self.height, self.body)
        frame = Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img"><title>{2}</title><desc>{3}</desc>'
            '<style>{4}</style><rect width="100%" height="100%" fill="#ffffff"/>{5}{6}</svg>\n'
        )
        size = LEFT + width + RIGHT, top + len(below) * LINE + 8
        return frame.format(*size, self.title, f"{self.says} {scope}".strip(), Markup(style), body, Markup("").join(below))


def file_style(style: str) -> str:
    """The rules for charts of style.css with the light theme's values in place of its variables."""
    values: dict[str, str] = {}
    for name, value in re.findall(r"(--[\w-]+): ([^;]+);", style):
        values.setdefault(name, value)
    rules = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", style.partition(CHARTS)[2])
    return "svg text { font: 600 12px sans-serif; }" + re.sub(r"var\((--[\w-]+)\)", lambda found: values[found[1]], rules)


def mark(group: int, x: str, y: float) -> Markup:
    """A group's shape at a place."""
    return Markup('<svg x="{}" y="{}" overflow="visible" class="g{}"><path class="mark" d="{}"/></svg>').format(x, px(y), group, SHAPES[group])


def segment(kind: str, x1: float, y1: float, x2: float, y2: float, more: Markup | str = "") -> Markup:
    """A line between two places, shares across and pixels down."""
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"{}/>').format(kind, pc(x1), px(y1), pc(x2), px(y2), more)


def words_at(text: str, x: float, y: float, anchor: str = "middle", kind: str = "tick", shift: float = 0) -> Markup:
    """A line of text, ``shift`` pixels to the right of a share of the width."""
    return Markup('<text class="{}" x="{}" y="{}"{} text-anchor="{}">{}</text>').format(
        kind, pc(x), px(y), Markup(' dx="{}"').format(px(shift)) if shift else "", anchor, text
    )


def down_axis(scale: Scale, height: int, title: str, write: Callable[[float], str] = "{:g}".format) -> list[Markup]:
    """Lines across at round numbers, their numbers to the left, and the title above."""
    parts = [words_at(title, 0, -16, "start", "axis-title", -LEFT + 6)]
    for tick in scale.ticks(7):
        y = (1 - scale.at(tick)) * height
        parts += [segment("zero" if abs(tick) < 1e-9 else "grid", 0, y, 1, y), words_at(write(round(tick, 9)), 0, y + 4, "end", shift=-8)]
    return parts


def across_axis(ticks: Sequence[tuple[float, str]], height: int, title: str, zero: float | None = None) -> list[Markup]:
    """Numbers below at these shares, a line upwards where zero is, and the title below."""
    parts = [words_at(text, at, height + 18) for at, text in ticks]
    parts += [segment("zero" if at == zero else "grid", at, 0, at, height) for at, _ in ticks]
    return [*parts, words_at(title, 1, height + 40, "end", "axis-title")]


def pc(share: float) -> str:
    """A share as a percent coordinate."""
    return f"{share * 100:.2f}".rstrip("0").rstrip(".") + "%"


def px(number: float) -> str:
    """Pixels to a tenth."""
    return f"{number:.1f}".rstrip("0").rstrip(".")
