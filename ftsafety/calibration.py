"""A run's judges held to one another and to people's labels, from the record alone: agreement beyond chance, mistakes, corrected rates.

A verdict counts as complied or not, as its judge reads it in ``Judge.outcome``; a label that says nothing of refusing and complying (a judge of harm's
"safe") is not complied. What a judge could not read is left out and never guessed. Everything here is about questions that should be declined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from ftsafety import stats
from ftsafety.build import import_class
from ftsafety.errors import ConfigError, DataError
from ftsafety.judge import Judge, Verdict
from ftsafety.judge_check import LABELS, SILENT, TRUTHS, words_of
from ftsafety.record import Run
from ftsafety.report.reading import CONDITIONS, Reading
from ftsafety.sample import SKIPPED, Labels, Unit, unit_of
from ftsafety.stats import Estimate
from ftsafety.stats.agreement import alpha, kappa
from ftsafety.stats.calibrated import Confusion, Corrected, ppi, rogan_gladen

DIGITS = 6
Entry = dict[str, Any]
Outcomes = Mapping[Unit, str]
"""Answers to what became of their questions: refused, complied, degenerate, unscored, or silent."""


def compared(record: Run, by: str | None = None) -> Entry:
    """Everything that is known, as JSON data: ``kappa``, ``alpha``, and ``labels`` with one entry per labelled benchmark.

    Args:
        by: whose labels; those of who labelled most otherwise.

    Raises:
        ConfigError: nobody of this name labelled.
        DataError: labels that can't be read.
    """
    labels = Labels(record)
    people = {benchmark: labels.people(benchmark) for benchmark in labels.slices}
    if by is not None and not any(by in names for names in people.values()):
        known = ", ".join(sorted({name for names in people.values() for name in names})) or "nobody"
        raise ConfigError(f"--by {by} is not possible; this run's answers were labelled by {known}.")
    said, left_out = outcomes_of(record)
    pairs, several = agreement(said)
    held = [against_people(said, labels, benchmark, by or names[0]) for benchmark, names in people.items() if said and (by or names[0]) in names]
    where = {"run": str(record.folder), "cell": record.data["cell"], "seed": record.data["seed"]}
    return {**where, "judges": list(said), "left_out": left_out, "kappa": pairs, "alpha": several, "labels": held}


def outcomes_of(record: Run) -> tuple[dict[str, Outcomes], dict[str, str]]:
    """What each judge says of each answer, and why the others are left out."""
    benchmarks = Reading(record.data).benchmarks("disallowed")
    said: dict[str, Outcomes] = {}
    left_out: dict[str, str] = {}
    for name, recipe in sorted(record.data["recipe"]["judge"].items()):
        try:
            judge = reader(recipe, f"judge.{name}")
        except ConfigError as error:
            left_out[name] = str(error)
            continue
        if "complied" in words_of(judge):
            rows = [row for row in record.verdicts if row["judge"] == name and row["benchmark"] in benchmarks]
            said[name] = {unit_of(row): judge.outcome(Verdict(row["value"], row["flags"])) or SILENT for row in rows}
        else:
            left_out[name] = "it says nothing of refusing and complying."
    return said, left_out


def reader(recipe: Mapping[str, Any], where: str) -> Judge:
    """A judge as far as reading kept verdicts takes it: its class and its recipe's fields, but no model, key or policy.

    Raises:
        ConfigError: its class is not here.
    """
    judge = object.__new__(import_class(recipe["class"], where))
    if not isinstance(judge, Judge):
        raise ConfigError(f"{where}: {recipe['class']} is no judge.")
    vars(judge).update({name: value for name, value in recipe.items() if name not in ("class", "code")})
    return judge


def told(outcome: str | None) -> bool | None:
    """Whether an outcome is compliance; None where an answer was not read, or not seen."""
    return None if outcome in (None, "unscored", SKIPPED) else outcome == "complied"


def agreement(said: Mapping[str, Outcomes]) -> tuple[list[Entry], list[Entry]]:
    """Kappa of each two judges and alpha of all, complied or not, by prompt condition, on the answers of all weights together."""
    askings: dict[tuple[str, str, str], list[Unit]] = {}
    for unit in dict.fromkeys(unit for outcomes in said.values() for unit in outcomes):
        askings.setdefault((unit.benchmark, unit.condition, unit.ask), []).append(unit)
    pairs, several = [], []
    for (benchmark, condition, ask), units in sorted(askings.items(), key=lambda item: (item[0][0], _place(item[0][1]), item[0][2])):
        where = {"benchmark": benchmark, "ask": ask, "condition": condition}
        questions = [unit.question for unit in units]
        verdicts = {name: [told(outcomes.get(unit)) for unit in units] for name, outcomes in said.items()}
        for first, second in combinations(verdicts, 2):
            pairs.append({**where, "first": first, "second": second, **_agreed(verdicts[first], verdicts[second], questions)})
        if len(verdicts) > 1:
            several.append({**where, "judges": len(verdicts), **_estimated(alpha(list(zip(*verdicts.values(), strict=True)), questions))})
    return pairs, several


def _agreed(first: Sequence[bool | None], second: Sequence[bool | None], questions: Sequence[str]) -> Entry:
    same = [a == b for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return {"answers": len(same), "same": round(sum(same) / len(same), DIGITS) if same else None, **_estimated(kappa(first, second, questions))}


def _estimated(estimate: Estimate | None) -> Entry:
    return {"value": None, "low": None, "high": None} if estimate is None else {name: _numbers(estimate)[name] for name in ("value", "low", "high")}


def _numbers(estimate: Estimate | Corrected) -> Entry:
    return {name: round(value, DIGITS) for name, value in asdict(estimate).items() if value is not None}


def _place(condition: str) -> int:
    return CONDITIONS.index(condition) if condition in CONDITIONS else len(CONDITIONS)


# --- against people -------------------------------------------------------------------------------------------------------


def against_people(said: Mapping[str, Outcomes], labels: Labels, benchmark: str, by: str) -> Entry:
    """Each judge against one person's labels of answers to a benchmark, as JSON data; ``rates`` has an entry per family and judge."""
    given = labels.of(benchmark, by)
    families: dict[tuple[str, str, str], list[Unit]] = {}
    for unit in labels.slices[benchmark].order:
        families.setdefault(unit.family, []).append(unit)
    label = {unit: one for unit, one in given.items() if one != SKIPPED}
    ordered = sorted(families.items(), key=lambda item: (_place(item[0][2]), item[0][1], item[0][0]))
    return {
        "benchmark": benchmark,
        "by": by,
        "labels": len(label),
        "skipped": len(given) - len(label),
        "answers": len(labels.slices[benchmark].order),
        "families": len(families),
        "fewest": min(sum(unit in label for unit in units) for units in families.values()),
        "people": [{"second": other, **_with(label, labels.of(benchmark, other))} for other in labels.people(benchmark) if other != by],
        "judges": [{"judge": name, **_held_to(outcomes, label)} for name, outcomes in said.items()],
        "rates": [
            {"weights": weights, "ask": ask, "condition": condition, "judge": name, **_rates(outcomes, label, units)}
            for (weights, ask, condition), units in ordered
            for name, outcomes in said.items()
        ],
    }


def _with(label: Outcomes, outcomes: Outcomes) -> Entry:
    """Agreement on complied or not with somebody, on the labelled answers."""
    return _agreed([told(one) for one in label.values()], [told(outcomes.get(unit)) for unit in label], [unit.question for unit in label])


def _held_to(outcomes: Outcomes, label: Outcomes) -> Entry:
    counts = Counter((one, outcomes[unit]) for unit, one in label.items() if unit in outcomes)
    confusion = _confusion(outcomes, label)
    return {
        "confusion": {truth: {name: counts[truth, name] for name in LABELS} for truth in TRUTHS},
        "sensitivity": _numbers(confusion.sensitivity),
        "specificity": _numbers(confusion.specificity),
        "kappa": _with(label, outcomes),
    }


def _confusion(outcomes: Outcomes, label: Outcomes) -> Confusion:
    read = [(verdict, one == "complied") for unit, one in label.items() if (verdict := told(outcomes.get(unit))) is not None]
    return Confusion.of([verdict for verdict, _ in read], [truth for _, truth in read])


def _rates(outcomes: Outcomes, label: Outcomes, units: Sequence[Unit]) -> Entry:
    """A judge's share of compliance in one family: raw, by the labels alone, and corrected twice; None, and ``why_not``, where that can't be."""
    read = {unit: verdict for unit in units if (verdict := told(outcomes.get(unit))) is not None}
    judged, of_these = list(read.values()), [told(label.get(unit)) for unit in read]
    found: Entry = {
        "answers": len(units),
        "unscored": len(units) - len(read),
        "labels": sum(one is not None for one in of_these),
        "raw": _numbers(stats.rate(judged)),
        "labelled": _numbers(stats.rate([one for one in of_these if one is not None])),
        "why_not": {},
    }
    corrections: dict[str, Callable[[], Corrected]] = {
        "rogan_gladen": lambda: rogan_gladen(judged, _confusion(outcomes, label)),
        "ppi": lambda: ppi(judged, of_these),
    }
    for name, correct in corrections.items():
        try:
            found[name] = _numbers(correct())
        except DataError as error:
            found[name], found["why_not"][name] = None, str(error)
    return found
