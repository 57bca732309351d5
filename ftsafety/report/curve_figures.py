"""Training curves as charts: loss, learning rate and gradient norm of a run's tunings, and the losses of many runs together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ftsafety.curve import of_record
from ftsafety.report import words
from ftsafety.report.many_drawing import Drawing, Scale, across_axis, around, down_axis, mark, pc, segment, words_at
from ftsafety.report.many_figures import grouped

if TYPE_CHECKING:
    from ftsafety.report.many_read import Line

HEIGHT, LOW = 260, 170
"""Pixels of a chart of many losses, and of one run's curve."""
TITLES = {"loss": "loss, nats per token", "learning_rate": "learning rate", "gradient_norm": "gradient norm"}
STAGES = {"align": "Alignment", "tune": "Tuning", "substage": "Tuned for a mitigation"}
DECADES = 20.0
"""Runs whose lengths differ by more than this factor are drawn on a logarithmic axis."""
MOST, CLEAR = 40, 12
"""Most curves of a chart, and the most that are drawn in full colour."""
APART = 13.0
"""Pixels between two row numbers at the ends of their curves."""


@dataclass(frozen=True)
class Tuning:
    """One tuning of a run: what it is called, what became of its loss, and a chart for each quantity that is known."""

    title: str
    says: str
    drawings: list[Drawing]


def of_run(data: Mapping[str, Any]) -> list[Tuning]:
    """The tunings of a record that have a curve, in the order in which they were done."""
    return [_tuning(name, kept) for name, kept in of_record(data["stages"]).items()]


def _tuning(name: str, kept: Mapping[str, Sequence[Any]]) -> Tuning:
    kind, _, number = name.partition("_")
    steps, losses = kept["step"], kept["loss"]
    says = f"Loss from {losses[0]:.4g} to {losses[-1]:.4g} in {words.count(steps[-1], 'optimiser step')}"
    says += f", of which {len(steps)} are drawn." if len(steps) < steps[-1] else "."
    drawings = [_one(f"curve-{name}-{quantity}", quantity, steps, kept[quantity]) for quantity in TITLES if quantity in kept]
    return Tuning(f"{STAGES.get(kind, kind)}{f' {number}' if number else ''}", says, drawings)


def _one(name: str, quantity: str, steps: Sequence[int], values: Sequence[float | None]) -> Drawing:
    told = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    across, down = Scale(0, steps[-1]), around([value for _, value in told])
    parts = [*down_axis(down, LOW, TITLES[quantity]), *across_axis(steps_across(across), LOW, "optimiser step")]
    line = _line([(across.at(step), (1 - down.at(value)) * LOW) for step, value in told])
    says = f"{TITLES[quantity]}: {told[0][1]:.4g} at step {told[0][0]}, {told[-1][1]:.4g} at step {told[-1][0]}"
    return Drawing(name, TITLES[quantity].capitalize(), says, LOW, Markup("").join([*parts, Markup('<g class="g0">{}</g>').format(line)]))


def of_many(lines: Sequence[Line]) -> list[Drawing]:
    """One chart of the training losses of all cells that have a curve, each of its lowest seed; empty where none has."""
    cells = {line.row.cell: line for line in reversed(lines) if line.beside.curve}
    if not cells:
        return []
    drawn = sorted(cells.values(), key=lambda line: line.number)[:MOST]
    by, groups = grouped(drawn)
    ends = [line.beside.curve[-1][0] for line in drawn]
    log = max(ends) / min(ends) > DECADES
    across = Scale(1 if log else 0, max(ends) if max(ends) > 1 else 2, log)
    down = around([loss for line in drawn for _, loss in line.beside.curve])
    ticks = [(across.at(10**power), f"{10**power:g}") for power in range(len(str(max(ends))))] if log else steps_across(across)
    parts = [*down_axis(down, HEIGHT, "training loss, nats per token"), *across_axis(ticks, HEIGHT, "optimiser step →")]
    places = {line.number: [(across.at(step), (1 - down.at(loss)) * HEIGHT) for step, loss in line.beside.curve] for line in drawn}
    for line in drawn:
        title = f"{line.name}: loss {line.beside.curve[0][1]:.4g} to {line.beside.curve[-1][1]:.4g} in {words.count(line.beside.curve[-1][0], 'step')}"
        shape = Markup('<g class="trace g{}" data-row="{}"><title>{}</title>{}</g>')
        parts.append(shape.format(groups[by(line)], line.number, title, _line(places[line.number])))
    parts += _numbers({number: its[-1] for number, its in places.items()})
    says = f"Loss of {words.count(len(drawn), 'cell')}, each of its lowest seed" + (f", the first of {len(cells)}" if len(cells) > len(drawn) else "")
    says += "; numbers at the ends are rows of the table. A mitigation may add to the loss, so that only like curves are to be compared."
    body = Markup('<g class="{}">{}</g>').format("crowd" if len(drawn) > CLEAR else "few", Markup("").join(parts))
    legend = tuple((mark(group, "9", 7), value) for value, group in groups.items())
    return [Drawing("curves-1", "Training loss by optimiser step", says, HEIGHT, body, legend)]


def _line(places: Sequence[tuple[float, float]]) -> Markup:
    if len(places) == 1:
        return mark(0, pc(places[0][0]), places[0][1])
    return Markup("").join(segment("join", *here, *there) for here, there in pairwise(places))


def steps_across(across: Scale) -> list[tuple[float, str]]:
    """Ticks at whole optimiser steps."""
    return [(across.at(tick), f"{tick:g}") for tick in across.ticks(5) if tick == int(tick)]


def _numbers(ends: Mapping[int, tuple[float, float]]) -> Iterator[Markup]:
    """Row numbers behind the curves' ends, without those that would lie on another."""
    taken: list[tuple[float, float]] = []
    for number, (x, y) in ends.items():
        if all(abs(y - other) > APART or abs(x - there) > 0.05 for there, other in taken):
            taken.append((x, y))
            yield words_at(str(number), x, y + 4, "start", "tick halo", 5)
