"""The sections that ask what it costs: time, memory and data, and the task score and over-refusal at equal task gain."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from ftsafety import stats
from ftsafety.card.case import Case
from ftsafety.card.cells import Kind, Pair, Record, Tuned
from ftsafety.card.claim import Claim, Missing, Section, above, below
from ftsafety.card.effect import distinct
from ftsafety.errors import DataError
from ftsafety.hashing import canonical
from ftsafety.report import words
from ftsafety.stats import Crossed, Point

Stage = dict[str, Any]
ASKING = ("answer", "answers", "losses", "probe")
"""Stages that ask weights and do not make them."""
NOT_THE_PATH = ("lr", "epochs", "schedule", "gamma", "warmup_steps")
"""Settings along which a method's path to a task gain may run."""
TASKS = (("utility_loss", -1.0), ("utility_accuracy", 1.0), ("utility_rouge_l", 1.0))
"""What a task gain is read from, the first that was measured, and the sign that makes more of it better; a loss first, since it moves smoothly."""


def cost(case: Case) -> Section:
    """Time, memory and data, each beside plain tuning's."""
    section = Section("cost", "Cost", "What does it cost in time, memory and data?")
    # an alignment is both sides' own, unless the defense acts in it
    without = ASKING if case.defense.stage == "align" else (*ASKING, "align")
    pairs = list(distinct(case.main).values())
    for name, text, measure in (
        ("time", "seconds to make the weights, defended over undefended", _seconds),
        ("memory", "peak memory of the tuning, defended over undefended", _memory),
    ):
        if ratios := [ratio for pair in pairs if (ratio := _ratio(pair, measure, without)) is not None]:
            of = f"median of {words.count(len(ratios), 'pair')} of runs on the same kind of machine"
            section.claims.append(Claim(text, median(ratios), case.criteria(f"cost.{name}"), "within", of=of))
        else:
            told = "computed on the same kind of machine, whose records tell it; in a store of their own, and that folder is given to the card too."
            again = case.sides({"paths.store": "paths.store=again/store", "paths.runs": "paths.runs=again"})
            section.missing.append(Missing(f"{name}: a defended run and its undefended partner, {told}", again))
    added = [more for one, other in pairs if (more := _added(one.first, other.first)) is not None]
    if added:
        text = "rows that it needs beside the user's, per row of the user"
        section.claims.append(Claim(text, max(added), case.criteria("cost.data"), "within", of=words.count(len(added), "run")))
    return section


def _ratio(pair: Pair, measure: Callable[[Sequence[Stage]], float | None], without: Sequence[str]) -> float | None:
    """One number of a defended tuning over its partner's, from two records of the same kind of machine that tell it."""
    for one in pair[0].records:
        for other in pair[1].records:
            over, under = (measure(_making(record, without)) for record in (one, other))
            if over is not None and under and _platform(one) == _platform(other):
                return over / under
    return None


def _platform(record: Record) -> str:
    """The machine that made a record's weights."""
    foreign = [stage["platform"] for stage in _making(record) if "platform" in stage]
    return canonical(foreign or record.data.get("platform", {}))


def _making(record: Record, without: Sequence[str] = ASKING) -> list[Stage]:
    return [stage for stage in record.data["stages"] if stage["stage"] not in without]


def _seconds(stages: Sequence[Stage]) -> float | None:
    """What each took where it was computed."""
    return sum(float(stage.get("seconds", 0.0)) for stage in stages) or None


def _memory(stages: Sequence[Stage]) -> float | None:
    return max((float(stage["peak_mib"]) for stage in stages if stage.get("peak_mib")), default=None)


def _added(defended: Record, plain: Record) -> float | None:
    """Further rows of any role, and rows that are drawn beside the user's, per user row."""
    user = sum(plain.data["rows"].values())
    streams = sum(sum(stage.get("streams", {}).values()) for stage in _making(defended))
    return max(0, sum(defended.data["rows"].values()) - user + streams) / user if user else None


def use(case: Case) -> Section:
    """Compliance, task score and over-refusal where both sides gained as much at the task."""
    section = Section("use", "Use at equal task gain", "Where both learned the task as well: is it safer, and as useful?")
    tolerance = case.criteria("use.tolerance")
    sides = [_along(case, fields) for fields in (case.defense.fields, None)]
    metric, sign = next(
        ((name, sign) for name, sign in TASKS if all(_gain(one, name, sign) is not None for side in sides for one in side) and all(sides)), (None, 1.0)
    )
    if metric is None:
        section.missing.append(Missing("a task score of defended and undefended runs, before and after (a benchmark of kind utility).", case.ladder()))
        return section
    section.facts.append(f"Task gain is that of {words.METRICS.get(metric, metric)} under the attack's own prompt{', as less loss' if sign < 0 else ''}.")
    kinds: tuple[tuple[Kind, str], ...] = (("disallowed", "compliance"), ("utility", "task score"), ("allowed", "over-refusal"))
    for kind, text in kinds:
        points = [_points(side, kind, metric, sign) for side in sides]
        if not all(points):
            section.missing.append(Missing(f"{text} of defended and undefended runs.", case.ladder()))
            continue
        try:
            found = stats.matched(points[0], points[1], tolerance=tolerance, clusters=_clusters(sides, kind), bounds=stats.RATE)
        except DataError as error:
            section.missing.append(Missing(f"{text} at equal task gain: {error}", case.ladder()))
            continue
        section.claims.append(_claim(case, text, found.difference, found.at, len({point.digest for side in points for point in side})))
    return section


def _claim(case: Case, text: str, found: Crossed, at: float, runs: int) -> Claim:
    told = f"defended minus undefended {text}, at a task gain of {at:+.3g}"
    of = f"{words.count(runs, 'tuning')}, {words.count(found.n, 'question')}; the interval covers {' and '.join(found.covers)}"
    if text == "compliance":
        return below(told, found, 0.0 - case.criteria("use.effect"), of)
    if text == "task score":
        return above(told, found, -case.criteria("use.task_score"), of)
    return below(told, found, case.criteria("use.over_refusal"), of)


def _along(case: Case, fields: dict[str, Any] | None) -> list[Tuned]:
    """All tunings of one side that differ from the main setting in how long and how fast they were, and in nothing else."""
    wanted = _loose(case.main[0][0])
    return [one for one in case.house.under(fields) if one.others == case.main[0][0].others and _loose(one) == wanted]


def _loose(one: Tuned) -> str:
    setting = json.loads(one.setting)
    for part in ("tuning", "strategy"):
        setting[part] = {name: value for name, value in (setting.get(part) or {}).items() if name not in NOT_THE_PATH}
    return canonical(setting)


def _gain(one: Tuned, metric: str, sign: float) -> float | None:
    """After minus before under the attack's own prompt."""
    found = [
        entry for record in one.records for entry in record.data["differences"] if (entry["metric"], entry["condition"]) == (metric, "train") and entry["n"]
    ]
    return sign * float(found[0]["value"]) if found else None


def _points(side: Sequence[Tuned], kind: Kind, metric: str, sign: float) -> list[Point]:
    found = []
    for one in side:
        gain, (values, _) = _gain(one, metric, sign), one.values(kind)
        if gain is not None and values:
            found.append(Point(gain, f"{one.model} {one.seed}", one.digest, values))
    return found


def _clusters(sides: Sequence[Sequence[Tuned]], kind: Kind) -> dict[str, str] | None:
    found = {question: category for side in sides for one in side for question, category in one.values(kind)[1].items()}
    # questions without categories, such as those of a task, stand each for itself
    return found if len(set(found.values())) > 1 else None
