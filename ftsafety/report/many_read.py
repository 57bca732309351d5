"""What the comparison page needs of records beyond ``compare.Row``: raw non-refusal, which task score was measured, versions, and categories.

Each ``run.json`` is read once and only a few numbers of it are kept; ``verdicts.jsonl`` is read for the few cells whose categories are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ftsafety import stats
from ftsafety.curve import of_record
from ftsafety.record import finished, read_verdicts
from ftsafety.report.compare import LABELS, UTILITY, Comparison, Figure, Row
from ftsafety.report.figures import Span
from ftsafety.report.reading import Reading
from ftsafety.report.words import METRICS, NOT_SHARES, Entry, estimate

KEYWORD = "keyword_asr"
UNKNOWN = "an unknown version"
TASKS = {"utility_accuracy": "right answers", "utility_rouge_l": "ROUGE-L", "utility_loss": "minus loss, nats per token"}
"""What the task score is in words; where only a loss was measured it is minus that, so that up is better in all."""
PARTS = ("before", "after", "change")
CURVE = 60
"""Points of a training curve beside others."""


@dataclass
class Beside:
    """One cell's records, lowest seed first in ``homes``."""

    homes: dict[int, Path] = field(default_factory=dict)
    """Seed to run folder."""
    last: str | None = None
    """The last weights' label, None when nothing was tuned."""
    task: str | None = None
    """The metric that is ``figures["utility"]`` of the cell's rows; None where only a loss or nothing was measured."""
    versions: set[str] = field(default_factory=set)
    categories: dict[str, str] = field(default_factory=dict)
    """Category to its title in the policy."""
    keyword: dict[str, dict[tuple[str, str], dict[str, float]]] = field(default_factory=dict)
    """Digest of the weights to benchmark and ask to ``before``, ``after`` and ``change`` of raw non-refusal."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Optimiser step and loss of the tuning, thinned, of the lowest seed; empty where the record has none."""
    readings: list[dict[str, Any]] = field(default_factory=list)
    """What a probe read while it was tuned, of the lowest seed; empty where it was not probed."""

    def raw(self, row: Row, part: str) -> float | None:
        """Raw non-refusal of a row, meaned over the distinct runs; None where it was not measured."""
        told = [places[row.benchmark, row.ask][part] for places in self.keyword.values() if part in places.get((row.benchmark, row.ask), {})]
        return fmean(told) if told else None


@dataclass(frozen=True)
class Line:
    """A row of the comparison with its number on the page and what stands beside it."""

    number: int
    row: Row
    beside: Beside

    @property
    def name(self) -> str:
        """What the page calls it; the number tells apart what is called alike."""
        return f"{self.number}. {self.row.label}"

    def metric(self, measure: str) -> str:
        """The metric that is one of the row's figures, such as ``compliance_rate`` for ``headline``."""
        told = {"headline": self.row.metric, "plain": self.row.metric, "score": "harmfulness_score", "utility": self.beside.task or UTILITY[0]}
        return told.get(measure, measure)

    def entry(self, measure: str, part: str) -> Entry | None:
        """One number of the row as ``words`` takes it; None where it was not measured."""
        figure = self.row.figures.get(measure, {}).get(part)
        if figure is None:
            return None
        return {"metric": self.metric(measure), "value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n, "p_value": figure.p}

    @property
    def task(self) -> tuple[str, Figure] | None:
        """The metric and the change of the task score: accuracy or ROUGE-L, or else minus the loss, so that up is better; None without either."""
        if change := self.row.figures.get("utility", {}).get("change"):
            return self.metric("utility"), change
        if loss := self.row.figures.get("utility_loss", {}).get("change"):
            return "utility_loss", Figure(-loss.value, -loss.high, -loss.low, loss.n, loss.covers, loss.p)
        return None

    @property
    def share(self) -> bool:
        """Whether the headline is a share, told in percent."""
        return self.row.metric not in NOT_SHARES

    @property
    def after(self) -> str:
        """The headline after tuning in words, with its interval, and before it."""
        return f"{what(self.row.metric)} {told(self.entry('headline', 'after'))}, before {told(self.entry('headline', 'before'))}"


def what(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric)


def short(metric: str) -> str:
    """The same where a noun is needed."""
    return {"compliance_rate": "compliance"}.get(metric) or what(metric)


def told(entry: Entry | None) -> str:
    """Value and interval with their unit."""
    if entry is None:
        return "not measured"
    return estimate(entry, 0) if entry["metric"] in NOT_SHARES else estimate(entry, 0).replace(" [", " % [", 1)


@dataclass(frozen=True)
class Category:
    """Compliance in one category before and after, as shares with Wilson intervals."""

    title: str
    before: Span | None
    after: Span | None
    n: int


def read(folders: Iterable[Path], found: Comparison) -> list[Line]:
    """The rows of ``compare(folders)``, numbered from 1; of each cell and seed the record is read that ``compare`` took."""
    wanted = {row.cell for row in found.rows}
    cells: dict[str, Beside] = {}
    for home, data in finished(folders, told=False):
        if data["cell"] in wanted:
            _add(cells.setdefault(data["cell"], Beside()), home, data)
    for beside in cells.values():
        beside.homes = dict(sorted(beside.homes.items()))
    return [Line(number, row, cells[row.cell]) for number, row in enumerate(found.rows, 1)]


def _add(beside: Beside, home: Path, data: Mapping[str, Any]) -> None:
    reading = Reading(dict(data))
    if data["seed"] <= min(beside.homes, default=data["seed"]):
        beside.curve = _curve(data)
        beside.readings = (data.get("probe") or {}).get("readings", [])
    beside.homes[data["seed"]] = home
    beside.last = reading.after
    beside.versions.add(str(data.get("versions", {}).get("ftsafety", UNKNOWN)))
    beside.categories |= data.get("policy", {}).get("names", {})
    measured = {(entry["benchmark"], entry["metric"]) for entry in reading.results if entry["weights"] == "initial"}
    beside.task = next((metric for name in reading.benchmarks("utility") for metric in UTILITY if (name, metric) in measured), None)
    told = {
        "before": [entry for entry in reading.results if entry["weights"] == "initial"],
        "after": [entry for entry in reading.results if entry["weights"] == reading.after],
        "change": data["differences"],
    }
    digest = data.get("tuned_digest") or data.get("start_digest") or str(data["seed"])
    beside.keyword[digest] = {}
    for part in PARTS:
        for entry in told[part]:
            if entry["metric"] == KEYWORD and entry["condition"] == "train" and entry["n"]:
                beside.keyword[digest].setdefault((entry["benchmark"], entry["ask"]), {})[part] = entry["value"]


def _curve(data: Mapping[str, Any]) -> list[tuple[int, float]]:
    kept = of_record(data["stages"]).get("tune", {"step": [], "loss": []})
    every = -(-len(kept["step"]) // CURVE) or 1
    places = sorted({*range(0, len(kept["step"]), every), len(kept["step"]) - 1} if kept["step"] else ())
    return [(kept["step"][at], kept["loss"][at]) for at in places]


def categories(line: Line) -> list[Category]:
    """Category by category, counted from the verdicts of the lowest seed; empty where the headline is no share of verdicts or nothing was tuned."""
    row, beside = line.row, line.beside
    if row.metric not in LABELS or beside.last is None:
        return []
    counted: dict[str, dict[str, list[bool]]] = {}
    wanted = (row.benchmark, row.ask, "train", row.judge)
    for one in read_verdicts(next(iter(beside.homes.values()))):
        if (one["benchmark"], one["ask"], one["condition"], one["judge"]) == wanted and one["category"] and one["value"] is not None:
            counted.setdefault(one["category"], {}).setdefault(one["weights"], []).append(one["value"] in LABELS[row.metric])
    return [
        Category(
            beside.categories.get(name, name), _span(weights.get("initial", [])), _span(weights.get(beside.last, [])), max(map(len, weights.values()))
        )
        for name, weights in counted.items()
    ]  # fmt: skip


def _span(values: Sequence[bool]) -> Span | None:
    if not values:
        return None
    estimate = stats.rate(values)
    return Span(estimate.value, estimate.low, estimate.high)
