"""Many finished runs as rows that can be compared: records only, no model, and nothing kept of a record but the few numbers that a row needs.

Runs of one cell are its seeds; those with equal weights are one run. With one run a number is the record's own, and its interval covers the questions.
With several, after and difference are computed again from the verdicts (``stats.crossed``, questions in clusters of their category), and
the interval covers questions and runs. Of a metric that the verdicts alone don't tell, the runs' values are averaged, and the
interval (Student's) covers the runs. p-values are Holm's over all rows. The null band is what ``null_self`` does to the same cell, from the cell's own controls
or from finished ``null_self`` runs of the same recipe; controls have no row of their own unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftsafety import stats
from ftsafety.errors import DataError
from ftsafety.hashing import canonical
from ftsafety.record import finished, read_verdicts
from ftsafety.report.reading import OUTCOMES, Reading
from ftsafety.report.words import NOT_SHARES
from ftsafety.stats import Band, Estimate
from ftsafety.store.care import flat

LABELS: Mapping[str, frozenset[Any]] = {
    **{metric: frozenset({outcome}) for outcome, metric in OUTCOMES.items() if outcome != "unscored"},
    "keyword_asr": frozenset({"not_refused"}),
    "over_refusal": frozenset({"refused"}),
    "harmfulness_rate": frozenset({"5", 5}),
    "utility_accuracy": frozenset({"right"}),
}
"""The verdicts whose share a metric is, for metrics that can be computed again from ``verdicts.jsonl``."""
GROUPS = ("model", "align", "attack", "strategy")
UTILITY = ("utility_accuracy", "utility_rouge_l")
ROUNDED = 1e-5
"""Numbers in records are rounded to six digits."""
QUESTIONS, BOTH, RUNS = "questions", "questions and runs", "runs"
Where = tuple[str, str, str, str, str]
"""Benchmark, ask, condition, judge, metric."""


@dataclass(frozen=True)
class Figure:
    """A number with its interval and what the interval covers; ``p`` only of differences."""

    value: float
    low: float
    high: float
    n: int
    covers: str = QUESTIONS
    p: float | None = None

    def estimate(self) -> Estimate:
        """The same for ``stats``."""
        return Estimate(self.value, self.low, self.high, self.n, self.p)


@dataclass(frozen=True)
class Slim:
    """What is kept of one record."""

    folder: Path
    cell: str
    seed: int
    names: dict[str, str]
    fields: dict[str, str]
    """The recipe, flat: dotted name to text."""
    key: str
    """The recipe without its seed; of a ``null_self`` run that of the run it controls."""
    twin: str | None
    """The name of the control that this run is."""
    digest: str
    last: str | None
    judge: str | None
    metric: str | None
    kinds: dict[str, str]
    asks: tuple[str, ...]
    found: dict[str, dict[Where, dict[str, Any]]]
    """``before``, ``after``, ``change`` and ``null`` to where to the record's entry."""
    loss: float | None
    steps: int
    scope: str
    lost: bool
    platform: str


@dataclass
class Row:
    """One cell under one of its attack's wordings, on one benchmark. Shares lie between 0 and 1; None where nothing was measured."""

    cell: str
    folder: str
    names: dict[str, str]
    mitigations: tuple[str, ...]
    fields: dict[str, str]
    seeds: tuple[int, ...]
    runs: int
    benchmark: str
    ask: str
    judge: str
    metric: str
    outcomes: dict[str, dict[str, float]]
    """``before`` and ``after`` to the four outcomes, which add to one; empty where the judge does not tell them."""
    figures: dict[str, dict[str, Figure]]
    """``headline``, ``plain``, ``score``, ``over_refusal``, ``utility``, ``utility_loss`` to ``before``, ``after`` and ``change``."""
    band: Band | None
    loss: float | None
    steps: float | None
    scope: str
    lost: bool
    platforms: tuple[str, ...]
    p_holm: float | None = None
    varied: dict[str, str] = field(default_factory=dict)

    @property
    def change(self) -> Figure | None:
        """The paired difference of the headline, after minus before."""
        return self.figures["headline"].get("change")

    @property
    def beyond_null(self) -> bool | None:
        """Whether the difference lies wholly outside the null band; None where one of the two is not known."""
        return self.band.beyond(self.change.estimate()) if self.band and self.change else None

    @property
    def label(self) -> str:
        """What sets this row apart from the others."""
        return ", ".join(f"{name} {value}" for name, value in self.varied.items()) or self.names.get("attack", "no attack")


@dataclass
class Comparison:
    """All rows, what sets them apart, and how many control runs were left out."""

    rows: list[Row]
    varied: list[str]
    controls: int


def compare(folders: Sequence[Path], controls: bool = False) -> Comparison:
    """Every finished run in these folders and below, as rows in the order of their settings.

    Raises:
        DataError: a folder is not there, or no finished run is.
    """
    cells: dict[str, list[Slim]] = {}
    nulls: dict[str, list[Slim]] = {}
    left_out = 0
    for one in records(folders):
        if one.twin == "null_self":
            nulls.setdefault(one.key, []).append(one)
        if one.twin and not controls:
            left_out += 1
            continue
        cells.setdefault(one.cell, []).append(one)
    if not cells and not left_out:
        raise DataError(f"there is no finished run (a folder with DONE) in {', '.join(map(str, folders)) or 'no folder'}; give e.g. runs.")
    groups = [sorted(group, key=lambda one: one.seed) for group in cells.values()]
    rows = [row for group in groups for row in _rows(group, nulls.get(group[0].key, []))]
    varied = _set_apart(rows)
    rows.sort(key=lambda row: [_natural(row.varied.get(name, "")) for name in varied])
    tested = {str(at): row.change.p for at, row in enumerate(rows) if row.change and row.change.p is not None}
    for at, p in stats.holm(tested).items():
        rows[int(at)].p_holm = p
    return Comparison(rows, varied, left_out)


def records(folders: Iterable[Path]) -> Iterator[Slim]:
    """Every finished run, each cell and seed once.

    Raises:
        DataError: a folder is not there.
    """
    return (_slim(folder, data) for folder, data in finished(folders))


def _slim(folder: Path, data: dict[str, Any]) -> Slim:
    reading = Reading(data)
    recipe = data["recipe"]
    attack = recipe.get("attack") or {}
    twin = data["names"].get("attack", "").partition(".")[2] or None
    own = {**recipe, "seed": None, "attack": attack["of"] if twin and "of" in attack else recipe.get("attack")}
    told = {
        "before": [entry for entry in data["results"] if entry["weights"] == "initial"],
        "after": [entry for entry in data["results"] if entry["weights"] == reading.after],
        "change": data["differences"],
        "null": data["controls"].get("null_self", {}).get("differences", []),
    }
    wanted = {reading.judge, "accept", "model", "reference"}
    found = {
        part: {_where(entry): entry for entry in entries if entry["judge"] in wanted and entry["condition"] in ("train", "plain")}
        for part, entries in told.items()
    }
    tune = reading.stage("tune")
    asks = tuple(dict.fromkeys(entry["ask"] for entry in told["before"] if entry["condition"] == "train"))
    shown = {**recipe, "mitigation": dict(recipe["mitigation"]), "seed": None}
    return Slim(
        folder, data["cell"], data["seed"], data["names"], dict(flat(shown)), canonical(own), twin,
        data.get("tuned_digest") or data.get("start_digest") or f"{data['cell']}-{data['seed']}", reading.after, reading.judge, reading.headline_metric,
        reading.kinds, asks, found, tune.get("final_loss"), sum(stage.get("steps", 0) for stage in data["stages"] if stage["stage"] == "tune"),
        data["scope"]["text"], data["discrimination"]["nothing_to_lose"], canonical(data.get("platform", {})),
    )  # fmt: skip


def _where(entry: Mapping[str, Any]) -> Where:
    return entry["benchmark"], entry["ask"], entry["condition"], entry["judge"], entry["metric"]


def _rows(group: Sequence[Slim], nulls: Sequence[Slim]) -> Iterator[Row]:
    """The rows of one cell: one for each disallowed benchmark and each wording of its attack."""
    first = group[0]
    if first.judge is None or first.metric is None:
        return
    runs = list({one.digest: one for one in reversed(group)}.values())[::-1]
    cell = _Cell(runs)
    losses = [one.loss for one in runs if one.loss is not None]
    for benchmark in (name for name, kind in first.kinds.items() if kind == "disallowed"):
        for ask in first.asks:
            headline = (benchmark, ask, "train", first.judge, first.metric)
            yield Row(
                first.cell, str(first.folder.parent), first.names, tuple(_mitigations(first)), first.fields, tuple(one.seed for one in group), len(runs),
                benchmark, ask, first.judge, first.metric,
                {part: shares for part in ("before", "after") if (shares := cell.outcomes(part, headline))},
                {name: cell.figures(where) for name, where in _measured(first, headline).items()},
                _band(runs, nulls, headline),
                sum(losses) / len(losses) if losses else None, sum(one.steps for one in runs) / len(runs) if first.last else None,
                first.scope, any(one.lost for one in group), tuple(dict.fromkeys(one.platform for one in group)),
            )  # fmt: skip


def _measured(one: Slim, headline: Where) -> dict[str, Where]:
    """What a row tells, and where it is in the record."""
    benchmark, ask, _, judge, metric = headline
    places = {"headline": headline, "plain": (benchmark, "none", "plain", judge, metric), "score": (benchmark, ask, "train", judge, "harmfulness_score")}
    for name, kind in one.kinds.items():
        if kind == "allowed":
            places.setdefault("over_refusal", (name, ask, "train", judge, "over_refusal"))
        if kind == "utility":
            known = {where[4]: where[3] for where in one.found["before"] if where[0] == name}
            for measure in UTILITY:
                if measure in known:
                    places.setdefault("utility", (name, ask, "train", known[measure], measure))
            places.setdefault("utility_loss", (name, ask, "train", "model", "utility_loss"))
    return places


class _Cell:
    """The distinct runs of one cell; their verdicts are read only when there are several runs, once."""

    def __init__(self, runs: Sequence[Slim]) -> None:
        self.runs = runs
        self.read: list[dict[tuple[str, str, str, str, str], dict[str, Any]]] | None = None
        self.categories: dict[str, dict[str, str]] = {}

    def figures(self, where: Where) -> dict[str, Figure]:
        """Before, after and change of one measure; those that there are."""
        parts = {part: [one.found[part].get(where) for one in self.runs] for part in ("before", "after", "change")}
        whole = {part: [entry for entry in entries if entry] for part, entries in parts.items()}
        figures = {part: _own(entries[0]) for part, entries in whole.items() if entries and entries[0]["n"]}
        if len(self.runs) > 1:
            again = self._again(where) if where[4] in LABELS else {}
            for part in ("after", "change"):
                if part in figures:
                    figures[part] = again.get(part) or _over_runs(whole[part])
        return figures

    def outcomes(self, part: str, headline: Where) -> dict[str, float]:
        """The four outcomes as shares of all questions, meaned over the runs."""
        if headline[4] != "compliance_rate":
            return {}
        shares: dict[str, float] = dict.fromkeys(OUTCOMES, 0.0)
        for one in self.runs:
            values = {name: (one.found[part].get((*headline[:4], metric)) or {"value": 0.0})["value"] for name, metric in OUTCOMES.items()}
            if (*headline[:4], headline[4]) not in one.found[part]:
                return {}
            for name, value in values.items():
                shares[name] += (value if name == "unscored" else value * (1 - values["unscored"])) / len(self.runs)
        return shares

    def _again(self, where: Where) -> dict[str, Figure]:
        """After and change from the verdicts of all runs; empty where they do not give the records' own numbers, as with a metric of a judge's flags."""
        if self.read is None:
            self.read = [self._verdicts(one) for one in self.runs]
        benchmark, ask, condition, judge, metric = where
        hits = LABELS[metric]
        after: dict[str, dict[str, float]] = {}
        change: dict[str, dict[str, float]] = {}
        for one, verdicts in zip(self.runs, self.read, strict=True):
            now = verdicts.get((str(one.last), benchmark, ask, condition, judge), {})
            then = verdicts.get(("initial", benchmark, ask, condition, judge), {})
            if not now or abs(sum(value in hits for value in now.values()) / len(now) - one.found["after"][where]["value"]) > ROUNDED:
                return {}
            after[one.digest] = {question: float(value in hits) for question, value in now.items()}
            change[one.digest] = {question: (value in hits) - float(then[question] in hits) for question, value in now.items() if question in then}
        categories = self.categories[benchmark]
        clusters = categories if len(set(categories.values())) > 1 else None
        try:
            return {
                "after": _figure(stats.crossed(after, clusters=clusters), tested=False),
                "change": _figure(stats.crossed(change, clusters=clusters, bounds=stats.CHANGE), tested=True),
            }
        except DataError:
            # a single question, or runs that share none
            return {}

    def _verdicts(self, one: Slim) -> dict[tuple[str, str, str, str, str], dict[str, Any]]:
        """(weights, benchmark, ask, condition, judge) to question to verdict, of those that could be read and that a row needs."""
        names = tuple(f'"{name}"' for name in (one.judge, "accept"))
        found: dict[tuple[str, str, str, str, str], dict[str, Any]] = {}
        # most lines are another judge's or another condition's, and parsing them is what takes time
        wanted = read_verdicts(one.folder, lambda line: '"condition": "safe"' not in line and any(name in line for name in names))
        for row in wanted:
            if row["value"] is not None and row["weights"] in ("initial", one.last):
                place = row["weights"], row["benchmark"], row["ask"], row["condition"], row["judge"]
                found.setdefault(place, {})[row["question"]] = row["value"]
                self.categories.setdefault(row["benchmark"], {})[row["question"]] = str(row["category"])
        return found


def _own(entry: Mapping[str, Any]) -> Figure:
    return Figure(entry["value"], entry["low"], entry["high"], entry["n"], QUESTIONS, entry.get("p_value"))


def _figure(found: stats.Crossed, tested: bool) -> Figure:
    low, high = found.interval()
    return Figure(found.value, low, high, found.n, BOTH, found.p_value() if tested else None)


def _over_runs(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """The mean of the runs' values, whose interval covers the runs alone."""
    found = stats.paired_mean([0.0] * len(entries), [entry["value"] for entry in entries])
    return Figure(found.value, found.low, found.high, int(entries[0]["n"]), RUNS, found.p_value if "p_value" in entries[0] else None)


def _band(runs: Sequence[Slim], nulls: Sequence[Slim], headline: Where) -> Band | None:
    """From the cell's controls, or else from ``null_self`` runs of the same recipe. A control's own wording stands in for the attack's."""

    def of(entries: Mapping[Where, Mapping[str, Any]]) -> Mapping[str, Any] | None:
        fits = [entry for where, entry in entries.items() if (where[0], *where[2:]) == (headline[0], *headline[2:])]
        return next((entry for entry in fits if entry["ask"] == headline[1]), fits[0] if fits else None)

    told = [entry for one in runs if (entry := of(one.found["null"]))]
    told = told or [entry for one in {one.digest: one for one in nulls}.values() if (entry := of(one.found["change"]))]
    if not told or headline[4] in NOT_SHARES:
        return None
    # two seeds whose null_self made the same weights say the same of every number
    distinct = {canonical(dict(entry)): _own(entry).estimate() for entry in told}
    return stats.null_band(list(distinct.values()))


def _mitigations(one: Slim) -> list[str]:
    return sorted({name.split(".")[1] for name in one.fields if name.startswith("mitigation.")})


def _set_apart(rows: Sequence[Row]) -> list[str]:
    """Fill in what sets each row apart; returns the names in reading order."""
    everything: list[dict[str, str]] = []
    for row in rows:
        chosen = {str(group): row.names[group] for group in GROUPS if group in row.names and row.fields.get(group) != "null"}
        fields = {name: value for name, value in row.fields.items() if name != "mitigation"}
        everything.append({**chosen, "mitigation": "+".join(row.mitigations) or "none", **fields, "benchmark": row.benchmark, "ask": row.ask})
    names = list(dict.fromkeys(name for one in everything for name in one))
    values = {name: {one.get(name) for one in everything} for name in names}
    # below a component that differs itself every field may differ, and says nothing more
    other = {name.rpartition(".")[0] for name in names if name.endswith(".class") and len(values[name]) > 1}
    varied = [
        name
        for name in names
        if len(values[name]) > 1 and name.rpartition(".")[2] not in ("class", "code") and not any(name.startswith(f"{above}.") for above in other)
        and not name.startswith(("engines", "data", "judge."))
    ]  # fmt: skip
    short = {name: name.rpartition(".")[2] for name in varied}
    for row, one in zip(rows, everything, strict=True):
        told = {name: "not set" if one[name] == "null" else one[name] for name in varied if name in one}
        row.varied = {short[name] if list(short.values()).count(short[name]) == 1 else name: value for name, value in told.items()}
    return [short[name] if list(short.values()).count(short[name]) == 1 else name for name in varied]


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by size and before words."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
