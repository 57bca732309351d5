"""Inline SVG of our own: stacked outcomes with a whisker on compliance, and before/after dots per category.

Shapes have percent coordinates, so that a figure is as wide as its place and its text never shrinks. Every number that is drawn is
also written beside the drawing, and no meaning hangs on colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ftsafety.report.words import whole

BAR = 24
"""Height of a stacked bar in pixels."""
ROOM_FOR_NUMBER, ROOM_FOR_WORD = 0.08, 0.34
"""Shares of a bar in which a number, and a word with it, can be read at 400 pixels."""


@dataclass(frozen=True)
class Span:
    """A share with its interval."""

    value: float
    low: float
    high: float


def patterns() -> Markup:
    """Hatchings that tell degenerate and unscored apart without colour; once per page."""
    return Markup(
        '<svg class="defs" width="0" height="0" aria-hidden="true" focusable="false"><defs>'
        '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" class="degenerate"/>'
        '<line x1="0" y1="0" x2="0" y2="6" class="hatch"/></pattern>'
        '<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" class="unscored"/>'
        '<circle cx="3" cy="3" r="1" class="ink"/></pattern>'
        "</defs></svg>"
    )


def stacked(shares: dict[str, float], complied: Span | None, label: str) -> Markup:
    """One bar of the four outcomes, complied first, and under it the 95 % interval of the compliance rate."""
    parts, left = [], 0.0
    for name, share in shares.items():
        if share > 0:
            parts.append(_segment(name, left, share))
        left += share
    told = ", ".join(f"{name} {whole(share)} %" for name, share in shares.items())
    reach = _whisker(complied, BAR + 9, "complied") if complied else Markup("")
    frame = Markup('<svg class="bar" width="100%" height="{}" role="img" aria-label="{}: {}">{}{}</svg>')
    return frame.format(BAR + 16, label, told, Markup("").join(parts), reach)


def dots(before: Span | None, after: Span | None, label: str) -> Markup:
    """One category: compliance before as a ring, after as a disc, each with its interval, from 0 to 100 %."""
    grid = [Markup('<line x1="{0}" x2="{0}" y1="0" y2="34" class="grid"/>').format(_percent(at)) for at in (0, 0.25, 0.5, 0.75, 1)]
    marks = [_whisker(span, y, name) for span, y, name in ((before, 11, "ring"), (after, 24, "complied")) if span]
    told = ", ".join(f"{name} {whole(span.value)} %" for name, span in (("before", before), ("after", after)) if span)
    frame = Markup('<svg class="dots" width="100%" height="34" role="img" aria-label="{}: complied {}">{}</svg>')
    return frame.format(label, told, Markup("").join([*grid, *marks]))


def legend(kinds: Sequence[str]) -> Markup:
    """Swatches with their words."""
    items = [
        Markup('<li><svg width="18" height="14" aria-hidden="true">{}</svg>{}</li>').format(
            _whisker(Span(0.5, 0.0, 1.0), 7, "ring" if kind in ("before", "as it is") else "complied")
            if kind in ("before", "as it is", "after", "95 % interval")
            else Markup('<rect width="18" height="14" rx="2" class="{}"/>').format(_fill(kind)),
            kind,
        )
        for kind in kinds
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _segment(name: str, left: float, share: float) -> Markup:
    rect = Markup('<rect x="{}" y="0" width="{}" height="{}" class="seg {}" data-share="{:.6f}"><title>{} {} %</title></rect>').format(
        _percent(left), _percent(share), BAR, _fill(name), share, name, whole(share)
    )
    if share < ROOM_FOR_NUMBER:
        return rect
    text = f"{name} {whole(share)} %" if share >= ROOM_FOR_WORD else whole(share)
    return rect + Markup('<text x="{}" y="{}" class="on-{}" text-anchor="middle">{}</text>').format(_percent(left + share / 2), BAR / 2 + 4.5, name, text)


def _fill(name: str) -> str:
    return {"degenerate": "degenerate hatched", "unscored": "unscored dotted"}.get(name, name)


def _whisker(span: Span, y: float, name: str) -> Markup:
    return Markup(
        '<g class="whisker {4}"><line x1="{0}" x2="{1}" y1="{3}" y2="{3}"/><line x1="{0}" x2="{0}" y1="{5}" y2="{6}"/>'
        '<line x1="{1}" x2="{1}" y1="{5}" y2="{6}"/>'
        '<circle cx="{2}" cy="{3}" r="4.5"/></g>'
    ).format(_percent(span.low), _percent(span.high), _percent(span.value), y, name, y - 4, y + 4)


def _percent(share: float) -> str:
    return f"{share * 100:.4f}".rstrip("0").rstrip(".") + "%"
