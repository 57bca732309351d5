"""Ours beside a paper's: finished runs are matched to a table's rows, and the paper's contrasts are tested on them.

The paper's numbers, what they were measured with, the contrasts and what is out of scope are data: ``ftsafety/assets/expected``.

Rules. A run belongs to a row if its recipe has all that the row's ``match`` says and no mitigation that it does not name. Runs of one
cell are its seeds. Where several cells fit, the one nearest to the paper's ``settings`` counts and the others are named; for a contrast
it is the pair that differs least in what the contrast is not about (and least in final loss, where it asks for equal loss).

A value is *not comparable* with the paper's for any reason that the data or the run gives: another judge, model, data, number of
questions or setting. Without one it is *replicated* if the 95 % interval of ours minus the paper's covers zero (two proportions).

A contrast says that one row is above another. It is
*not comparable* if a row has no run, the untuned model had nothing to lose, the two differ in what the contrast is not about, or their
final losses are not equal where it asks for that;
*replicated* if the 95 % interval of the difference lies above zero, and with several seeds each seed's own difference does, too;
*not replicated* otherwise; the reason says whether it went the other way or could not be told.
The difference is paired by question (Newcombe's interval for one run each, Student's over the questions' shares for several seeds), and
that of two independent proportions where other questions were asked. Seeds vary the draw, not the question, so an interval over
questions does not cover them: hence the seeds' own rule.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from ftsafety import stats
from ftsafety.errors import ConfigError, DataError
from ftsafety.hashing import canonical
from ftsafety.record import Run, finished, read_verdicts
from ftsafety.stats import Estimate

FOLDER = Path(__file__).parent.parent / "assets" / "expected"
NOT_THE_QUESTION = frozenset({"class", "code", "lexicon", "max_length", "allow_cut"})
"""Fields of a recipe in which the two sides of a contrast may differ."""
PAPER_MODEL = "llama2_7b_chat"
Values = dict[str, list[bool]]
"""Question id to one value per run."""


@dataclass(frozen=True)
class Told:
    """A verdict on a value or a contrast: replicated, not replicated or not comparable, and why."""

    verdict: str
    reasons: tuple[str, ...] = ()
    difference: Estimate | None = None


@dataclass
class Group:
    """The finished runs of one cell, a seed each."""

    runs: list[Run]

    @property
    def data(self) -> dict[str, Any]:
        """The first run's record."""
        return self.runs[0].data

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return sorted(run.data["seed"] for run in self.runs)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The recipe's fields by dotted name; a class is its last name, a mitigation's fields stand below its name."""
        recipe = self.data["recipe"]
        mitigations = {name: fields for name, fields in recipe["mitigation"]}
        return dict(_flat({**{key: recipe.get(key) or {} for key in ("attack", "strategy", "tuning", "decoding")}, "mitigation": mitigations}))

    @property
    def mitigations(self) -> set[str]:
        """Names of the mitigations."""
        return {name for name, _ in self.data["recipe"]["mitigation"]}

    @property
    def final_loss(self) -> float | None:
        """Mean over the seeds of the last loss in tuning."""
        losses = [stage["final_loss"] for run in self.runs for stage in run.data["stages"] if stage["stage"] == "tune" and stage.get("final_loss") is not None]
        return sum(losses) / len(losses) if losses else None

    def fits(self, match: dict[str, Any]) -> bool:
        """Whether the recipe has all this, and no mitigation besides."""
        named = {key.split(".")[1] for key in match if key.startswith("mitigation.")}
        return self.mitigations <= named and all(_agrees(self.fields.get(key), wanted) for key, wanted in match.items())

    def deviations(self, settings: dict[str, Any]) -> list[str]:
        """In what it is not as in the paper: ``strategy.lr 0.001 (the paper: 5e-05)``."""
        return [
            f"{key} {_said(self.fields.get(key))} (the paper: {_said(wanted)})" for key, wanted in settings.items() if not _agrees(self.fields.get(key), wanted)
        ]

    def benchmark(self, classes: Sequence[str]) -> str | None:
        """The name of the first benchmark of one of these classes."""
        names = {fields["class"].rpartition(".")[2]: name for name, fields in sorted(self.data["recipe"]["benchmark"].items())}
        return next((names[cls] for cls in classes if cls in names), None)


@dataclass
class Table:
    """One table of the paper, and the runs that were found for it."""

    name: str
    data: dict[str, Any]
    groups: list[Group] = field(default_factory=list)

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows by id."""
        return {row["id"]: row for row in self.data["rows"]}

    def settings(self, row: dict[str, Any]) -> dict[str, Any]:
        """The paper's settings for a row."""
        return {**self.data["settings"], **row.get("settings", {})}

    def fitting(self, row: dict[str, Any]) -> list[Group]:
        """The cells that fit a row and asked what it is about, the nearest to the paper first."""
        found = [group for group in self.groups if group.fits(row["match"]) and self.values(group, row)]
        return sorted(found, key=lambda group: (len(group.deviations(self.settings(row))), -len(group.runs), group.data["cell"]))

    def measure(self, group: Group) -> dict[str, Any] | None:
        """The first of the table's measures that the cell's judges give."""
        return next((measure for measure in self.data["measures"] if measure["judge"] in group.data["recipe"]["judge"]), None)

    def values(self, group: Group, row: dict[str, Any]) -> Values:
        """One value per question and run, in the attack's own wording; empty where that was not asked."""
        measure, benchmark = self.measure(group), group.benchmark(self.data["benchmarks"])
        if measure is None or benchmark is None:
            return {}
        found: Values = {}
        for run in group.runs:
            for verdict in _asked(run, row, benchmark, measure["judge"]):
                found.setdefault(verdict["question"], []).append(verdict["value"] == measure["label"])
        # a question that one seed could not read is left out, so that each has a value per run
        return {question: values for question, values in found.items() if len(values) == len(group.runs)}

    def estimate(self, group: Group, row: dict[str, Any]) -> Estimate:
        """Mean share with Wilson's interval over the questions, each of which has one value or the mean of its seeds'."""
        return _wilson(list(_shares(self.values(group, row)).values()))

    def beside(self, group: Group, row: dict[str, Any]) -> Told:
        """A row's value beside the paper's."""
        ours, rate = self.estimate(group, row), row["paper"]["rate"]
        reasons = list(row["unlike"])
        if group.data["names"].get("model") != PAPER_MODEL:
            reasons.append(f"another model ({group.data['names'].get('model', 'unnamed')})")
        elif row["weights"] != "initial":
            reasons += group.deviations(self.settings(row))
        if ours.n != self.data["questions"]:
            reasons.append(f"{ours.n} of the paper's {self.data['questions']} questions")
        if rate is None:
            reasons.append("the paper has no number")
        if reasons:
            return Told("not comparable", tuple(dict.fromkeys(reasons)))
        difference = _independent(ours.value, ours.n, rate / 100, self.data["questions"])
        return Told("replicated" if difference.low <= 0 <= difference.high else "not replicated", (), difference)

    def contrast(self, contrast: dict[str, Any]) -> Told:
        """Whether one row is above another, as the paper has it."""
        rows = self.rows[contrast["higher"]], self.rows[contrast["lower"]]
        pairs = self._pairs(*rows)
        if not pairs:
            lacking = [row["label"] for row in rows if not self.fitting(row)] or [row["label"] for row in rows]
            return Told("not comparable", (f"no finished run for {' and '.join(lacking)}",))
        wanted = contrast.get("equal_loss")
        high, low = min(pairs, key=lambda pair: self._unlikeness(rows[0], rows[1], pair[0], pair[1], wanted is not None))
        reasons = [f"they differ in {key}, too" for key in self._confounded(*rows, high, low)]
        if any(run.data["discrimination"]["nothing_to_lose"] for group in (high, low) for run in group.runs):
            reasons.append("the untuned model had nothing to lose")
        if wanted is not None and not (_gap(high, low) <= wanted):
            reasons.append(f"final losses {_loss(high)} and {_loss(low)} are not within {wanted:g}")
        first, second = self.values(low, rows[1]), self.values(high, rows[0])
        difference = _difference(first, second)
        if reasons:
            return Told("not comparable", tuple(reasons), difference)
        if difference.low > 0:
            contrary = self._contrary(rows, high, low)
            return Told("not replicated", (f"seed {contrary[0]} alone does not show it",), difference) if contrary else Told("replicated", (), difference)
        why = "it went the other way" if difference.high < 0 else f"the interval covers zero: {difference.n} questions can't tell"
        return Told("not replicated", (why,), difference)

    def _pairs(self, higher: dict[str, Any], lower: dict[str, Any]) -> list[tuple[Group, Group]]:
        """Cells to compare. Initial is asked in every run, so it is taken from the run that it is compared with."""
        if lower["weights"] == "initial" and higher["weights"] != "initial":
            return [(group, group) for group in self.fitting(higher) if self.values(group, lower)]
        return list(product(self.fitting(higher), self.fitting(lower)))

    def _unlikeness(self, higher: dict[str, Any], lower: dict[str, Any], high: Group, low: Group, equal_loss: bool) -> tuple[float, ...]:
        away = len(high.deviations(self.settings(higher))) + len(low.deviations(self.settings(lower)))
        return (len(self._confounded(higher, lower, high, low)), _gap(high, low) if equal_loss else 0.0, away, -len(high.runs) - len(low.runs))

    def _confounded(self, higher: dict[str, Any], lower: dict[str, Any], high: Group, low: Group) -> list[str]:
        """Fields in which two cells differ although neither row speaks of them."""
        named = {*higher["match"], *lower["match"], *higher.get("settings", {}), *lower.get("settings", {})}
        # of two attacks, say, no field but the class is the same thing
        other = {key.split(".")[0] for key in named if key.endswith("class") and high.fields.get(key) != low.fields.get(key)}
        other |= {"mitigation"} if any(key.startswith("mitigation.") for key in named) else set()
        differing = [key for key in sorted({*high.fields, *low.fields}) if high.fields.get(key) != low.fields.get(key)]
        return [key for key in differing if key not in named and key.split(".")[0] not in other and key.rpartition(".")[2] not in NOT_THE_QUESTION]

    def _contrary(self, rows: tuple[dict[str, Any], dict[str, Any]], high: Group, low: Group) -> list[int]:
        """Seeds of both cells whose own difference is not above zero."""
        if min(len(high.runs), len(low.runs)) < 2:
            return []
        alone = {seed: [Group([run for run in group.runs if run.data["seed"] == seed]) for group in (high, low)] for seed in high.seeds if seed in low.seeds}
        return [seed for seed, (one, other) in alone.items() if _mean(self.values(one, rows[0])) <= _mean(self.values(other, rows[1]))]


def read(expected: str) -> tuple[list[Table], dict[str, Any]]:
    """The tables of ``qi2024/table2`` (or of ``qi2024/table4``: all whose name goes on with an underscore), and the whole file.

    Raises:
        ConfigError: no such paper or table; says what there is.
    """
    paper, _, name = expected.partition("/")
    file = FOLDER / f"{paper}.json"
    if paper not in papers():
        raise ConfigError(f"--expect {expected}: there are no numbers of {paper}; there are those of {', '.join(papers())}, as in --expect qi2024/table2.")
    data = json.loads(file.read_text(encoding="utf-8"))
    chosen = [Table(key, table) for key, table in data["tables"].items() if key == name or key.startswith(f"{name}_")]
    if not chosen:
        raise ConfigError(f"--expect {expected}: {paper} has no {name or 'table without a name'}; it has {', '.join(data['tables'])}.")
    return chosen, data


def papers() -> list[str]:
    """The papers whose numbers are shipped."""
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def runs_of(folders: Sequence[Path]) -> list[Run]:
    """Every finished run in these folders and below, each cell and seed once.

    Raises:
        DataError: a folder is not there, or no finished run is.
    """
    found = [Run(folder, data, list(read_verdicts(folder)), reused=True) for folder, data in finished(folders)]
    if not found:
        raise DataError(f"there is no finished run (a folder with DONE) in {', '.join(map(str, folders)) or 'no folder'}; give e.g. runs.")
    return found


def by_model(runs: Iterable[Run]) -> dict[str, list[Group]]:
    """Cells of each start model, by its name; two of one name are told apart by a number."""
    models: dict[str, tuple[str, dict[str, list[Run]]]] = {}
    for run in runs:
        recipe = run.data["recipe"]
        models.setdefault(canonical([recipe["model"], recipe["align"]]), (run.data["names"].get("model", "model"), {}))[1].setdefault(
            run.data["cell"], []
        ).append(run)
    found: dict[str, list[Group]] = {}
    for name, cells in models.values():
        label = name if name not in found else f"{name} ({sum(key.startswith(name) for key in found) + 1})"
        found[label] = [Group(sorted(one, key=lambda run: int(run.data["seed"]))) for one in cells.values()]
    return found


def _flat(values: dict[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value).rpartition(".")[2] if key == "class" else value


def _agrees(value: Any, wanted: Any) -> bool:
    if wanted == "any":
        return True
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)


def _said(value: Any) -> str:
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _asked(run: Run, row: dict[str, Any], benchmark: str, judge: str) -> list[dict[str, Any]]:
    """The verdicts that a row is about: of the last weights or the first ones, in the attack's own wording, if they could be read."""
    here = [v for v in run.verdicts if (v["condition"], v["benchmark"], v["judge"]) == ("train", benchmark, judge)]
    labels = {verdict["weights"] for verdict in here}
    weights = "initial" if row["weights"] == "initial" else next((label for label in ("repaired", "tuned") if label in labels), None)
    ask = row.get("ask") or next((verdict["ask"] for verdict in here), None)
    return [v for v in here if v["weights"] == weights and v["ask"] == ask and v["value"] is not None]


def _shares(values: Values) -> dict[str, float]:
    return {question: sum(hits) / len(hits) for question, hits in values.items()}


def _mean(values: Values) -> float:
    shares = _shares(values)
    return sum(shares.values()) / len(shares) if shares else 0.0


def _wilson(shares: Sequence[float]) -> Estimate:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(sum(shares), len(shares), 1 - stats.LEVEL, method="wilson")
    return Estimate(sum(shares) / len(shares), float(low), float(high), len(shares))


def _difference(before: Values, after: Values) -> Estimate:
    """After minus before: paired where the same questions were asked, else of independent proportions."""
    both = [question for question in before if question in after]
    # a question that could not be read on one side is no other question
    if len(both) < 0.9 * max(len(before), len(after)):
        return _independent(_mean(after), len(after), _mean(before), len(before))
    if all(len(values) == 1 for values in [*before.values(), *after.values()]):
        return stats.paired_rate([before[question][0] for question in both], [after[question][0] for question in both])
    first, second = _shares(before), _shares(after)
    return stats.paired_mean([first[question] for question in both], [second[question] for question in both])


def _independent(after: float, n_after: int, before: float, n_before: int) -> Estimate:
    """After minus before of two proportions on different questions: Newcombe's hybrid interval and a score test."""
    from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep

    counts = after * n_after, n_after, before * n_before, n_before
    low, high = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=1 - stats.LEVEL)
    p_value = 1.0 if after == before else float(test_proportions_2indep(*counts, method="score", compare="diff", return_results=True).pvalue)
    return Estimate(after - before, float(low), float(high), min(n_after, n_before), p_value)


def _gap(one: Group, other: Group) -> float:
    """Distance of the final losses; endless where one is not known."""
    first, second = one.final_loss, other.final_loss
    return abs(first - second) if first is not None and second is not None else float("inf")


def _loss(group: Group) -> str:
    return "unknown" if group.final_loss is None else f"{group.final_loss:.2f}"
