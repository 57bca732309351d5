"""What a model did while it was tuned, as charts: refusals, first-token KL, drift of the refusal direction; and the safety half-life in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from ftsafety import stats
from ftsafety.report import words
from ftsafety.report.curve_figures import LOW, steps_across
from ftsafety.report.many_drawing import Drawing, Scale, across_axis, around, down_axis, mark, pc, segment
from ftsafety.stats.half_life import HalfLife, half_life

KL, DRIFT = "first-token KL, nats", "drift of the refusal direction"
EXPLAINED = {
    KL: "How far the first token of an answer has moved from the model before tuning.",
    DRIFT: "One minus the cosine between the refusal directions now and before tuning.",
}


@dataclass(frozen=True)
class Probed:
    """What a page says of a probe."""

    lead: str
    half_life: str
    drawings: list[Drawing]


def of_run(data: Mapping[str, Any]) -> Probed | None:
    """The readings of a record; None where the tuning was not probed."""
    probe = data.get("probe")
    if not probe:
        return None
    readings: list[dict[str, Any]] = probe["readings"]
    steps = [one["step"] for one in readings]
    across = Scale(0, max(steps[-1], 1))
    found = of_readings(readings)
    lead = f"Every {words.count(probe['settings']['every'], 'optimiser step')} the model was asked {len(probe['questions'])} questions for development in the "
    lead += "attack’s own words, first before any step. The questions are few and the answers short: a course to look at, no result of the run."
    if probe["stopped"]:
        lead += f" The tuning ended at step {steps[-1]}, since fewer than {words.whole(probe['settings']['stop_below'])} % were refused."
    drawings = [_refusals(readings, across, found)]
    drawings += [_line(name, key, [(one["step"], one[key]) for one in readings], across) for name, key in ((KL, "kl"), (DRIFT, "drift"))]
    return Probed(lead, told(found), drawings)


def of_readings(readings: Sequence[Mapping[str, Any]]) -> HalfLife | None:
    """The half-life that the readings of a record tell; None where nothing was refused before tuning."""
    return half_life([one["step"] for one in readings], [one["refused"] for one in readings])


def told(found: HalfLife | None, unit: str = " steps") -> str:
    """``12 steps [9.5, 20]``; an open end where some or all of it lies behind the last reading."""
    if found is None:
        return "nothing was refused before tuning"
    beyond = f"> {found.last}"
    value, low, high = (beyond if number is None else f"{number:.3g}" for number in (found.steps, found.low, found.high))
    return f"{value}{unit} [{low}, {high}]"


def _refusals(readings: Sequence[Mapping[str, Any]], across: Scale, found: HalfLife | None) -> Drawing:
    down = Scale(0, 100)
    shares = [(one["step"], stats.rate(one["refused"])) for one in readings]

    def y(share: float) -> float:
        return (1 - down.at(share * 100)) * LOW

    parts = [*down_axis(down, LOW, "refused, %"), *across_axis(steps_across(across), LOW, "optimiser step")]
    if found and found.steps is not None:
        parts.append(segment("untuned", across.at(found.steps), 0, across.at(found.steps), LOW))
    places = [(across.at(step), share) for step, share in shares]
    points = [segment("join", here[0], y(here[1].value), there[0], y(there[1].value)) for here, there in pairwise(places)]
    points += [segment("reach", x, y(share.low), x, y(share.high)) + mark(1, pc(x), y(share.value)) for x, share in places]
    says = f"Refused {words.whole(shares[0][1].value)} % before tuning and {words.whole(shares[-1][1].value)} % at step {shares[-1][0]}, with Wilson intervals"
    says += "; the dashed line is the half-life." if found and found.steps is not None else "."
    return Drawing("probe-refused", "Refused", says, LOW, Markup("").join([*parts, Markup('<g class="g1">{}</g>').format(Markup("").join(points))]))


def _line(title: str, key: str, values: Sequence[tuple[int, float]], across: Scale) -> Drawing:
    down = around([value for _, value in values])
    parts = [*down_axis(down, LOW, title), *across_axis(steps_across(across), LOW, "optimiser step")]
    places = [(across.at(step), (1 - down.at(value)) * LOW) for step, value in values]
    line = Markup("").join(segment("join", *here, *there) for here, there in pairwise(places))
    says = f"{EXPLAINED[title]} {values[-1][1]:.3g} at step {values[-1][0]}."
    return Drawing(f"probe-{key}", title.capitalize(), says, LOW, Markup("").join([*parts, Markup('<g class="g0">{}</g>').format(line)]))
