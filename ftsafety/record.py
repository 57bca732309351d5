"""From what was asked to what is reported: rates with intervals, paired differences, and the run's record on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftsafety import stats
from ftsafety.errors import DataError, FtsafetyError
from ftsafety.judge import Judge, Mean, told
from ftsafety.measure import Asked
from ftsafety.progress import say
from ftsafety.stats import Estimate
from ftsafety.store.publish import fault_point, publish_json, publish_text

DIGITS = 6
FORMAT = 1
"""Of ``run.json``: raised when a record would mean something else to those who read it."""
NEEDED = ("cell", "seed", "names", "recipe", "scope", "discrimination", "results", "differences", "controls", "stages")


class DamagedRecord(DataError):
    """A finished run whose files can't be read."""

    def __init__(self, file: Path, why: object) -> None:
        self.file = file
        super().__init__(f"{file} is damaged ({why}); delete {file.parent / 'DONE'} and type the run's command again, which takes from the store what it can.")


def read_data(folder: Path) -> dict[str, Any]:
    """``run.json`` of a finished run.

    Raises:
        DamagedRecord: it can't be read.
        DataError: it has another format.
    """
    file = folder / "run.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedRecord(file, error) from error
    if not isinstance(data, dict) or "ftsafety" not in data:
        raise DamagedRecord(file, "it is no record")
    if data["ftsafety"] != FORMAT:
        wrote = data.get("versions", {}).get("ftsafety", "unknown")
        raise DataError(f"{file} has format {data['ftsafety']!r}, of version {wrote}; this version reads format {FORMAT}, so read it with that one.")
    if missing := [name for name in NEEDED if name not in data]:
        raise DamagedRecord(file, f"it has no {missing[0]}")
    return data


def read_verdicts(folder: Path, wanted: Callable[[str], bool] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a finished run's ``verdicts.jsonl``.

    Args:
        wanted: whether a line is worth parsing; all are if left out.

    Raises:
        DamagedRecord: they can't be read.
    """
    file = folder / "verdicts.jsonl"
    try:
        with file.open(encoding="utf-8") as lines:
            yield from map(json.loads, filter(wanted, lines) if wanted else lines)
    except (OSError, ValueError) as error:
        raise DamagedRecord(file, error) from error


def finished(folders: Iterable[Path], told: bool = True) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every finished run in these folders and below with its ``run.json``, each cell and seed once; what can't be read is left out.

    Args:
        told: say what is left out.

    Raises:
        DataError: a folder is not there.
    """
    seen: set[tuple[str, int]] = set()
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give folders with finished runs, such as runs.")
        for done in sorted(folder.rglob("DONE")):
            try:
                data = read_data(done.parent)
            except DataError as error:
                if told:
                    say(f"left out: {error}")
                continue
            if (data["cell"], data["seed"]) not in seen:
                seen.add((data["cell"], data["seed"]))
                yield done.parent, data


@dataclass
class Run:
    """What happened; ``data`` is ``run.json``, ``verdicts`` are the rows of ``verdicts.jsonl``."""

    folder: Path
    data: dict[str, Any]
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    reused: bool = False

    @classmethod
    def load(cls, folder: Path) -> Run | None:
        """A finished run's record; None when it is not finished.

        Raises:
            DamagedRecord: it is finished and can't be read.
            DataError: it has another format.
        """
        if not (folder / "DONE").exists():
            return None
        return cls(folder, read_data(folder), list(read_verdicts(folder)), reused=True)

    def save(self, config: str) -> None:
        """Write the record; ``DONE`` goes first and comes last, so that a folder with it is whole."""
        for outdated in ("DONE", "report.html"):
            (self.folder / outdated).unlink(missing_ok=True)
        publish_text(self.folder / "config.yaml", config)
        publish_text(self.folder / "verdicts.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.verdicts))
        publish_json(self.folder / "run.json", self.data)
        fault_point("halfway through record")

    def finish(self) -> None:
        """Mark the record as whole."""
        publish_text(self.folder / "DONE", self.data["cell"] + "\n")

    def result(self, metric: str, weights: str, condition: str, benchmark: str | None = None) -> dict[str, Any] | None:
        """The first result that fits, or None."""
        return next(
            (
                r
                for r in self.data["results"]
                if (r["metric"], r["weights"], r["condition"]) == (metric, weights, condition) and benchmark in (None, r["benchmark"])
            ),
            None,
        )


Values = dict[tuple[str, str], Sequence[bool] | Sequence[float]]


def measured(asked: Asked, judges: dict[str, Judge]) -> Values:
    """(judge, metric) to one value per scored question: true or false for rates, a number for means (scores, nats for losses)."""
    values: Values = {}
    if asked.kind == "utility":
        if right := [right for question, right in zip(asked.questions, asked.correct, strict=True) if question.accept]:
            values["accept", "utility_accuracy"] = right
        for metric, scores in asked.scores.items():
            if told_of := [score for score in scores if score is not None]:
                values["reference", metric] = told_of
        if asked.losses:
            values["model", "utility_loss"] = asked.losses
    for name, verdicts in asked.verdicts.items():
        metrics = judges[name].measures(asked.kind)
        for metric, how in metrics.items():
            said = [value for verdict in verdicts if (value := told(how, verdict)) is not None]
            # a judge that was read and says nothing of a metric does not measure it
            if said or all(verdict.value is None for verdict in verdicts):
                values[name, metric] = said
        if metrics:
            values[name, "unscored_rate"] = [verdict.value is None for verdict in verdicts]
    return values


def _means(judges: dict[str, Judge]) -> set[tuple[str, str]]:
    """The (judge, metric) that are means of numbers; every other is a share."""
    judged = {(name, metric) for name, judge in judges.items() for metric, how in judge.metrics.items() if isinstance(how, Mean)}
    return judged | {("model", "utility_loss"), ("reference", "utility_rouge_l")}


def results(label: str, asked: Sequence[Asked], judges: dict[str, Judge]) -> list[dict[str, Any]]:
    """The flat list of ``run.json``: one entry per benchmark, ask, condition, judge and metric."""
    means = _means(judges)

    def numbers(key: tuple[str, str], values: Sequence[Any]) -> dict[str, Any]:
        return _numbers(stats.mean(values) if key in means else stats.rate(values))

    return [
        {"weights": label, **_where(one), "judge": judge, "metric": metric, **numbers((judge, metric), values), "unscored": _unscored(one, judge)}
        for one in asked
        for (judge, metric), values in measured(one, judges).items()
    ]


def costs(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the verdicts of a run cost when they were made, by judge, each counted once: tokens, and dollars where prices were known.

    Args:
        rows: those of ``verdicts.jsonl``.
    """
    found: dict[str, dict[str, Any]] = {}
    seen = set()
    for row in rows:
        flags, verdict = row["flags"], (row["judge"], row["benchmark"], row["question"], row["answer"], row["truncated"])
        if "prompt_tokens" in flags and verdict not in seen:
            seen.add(verdict)
            cost = found.setdefault(row["judge"], {"verdicts": 0, "prompt_tokens": 0, "completion_tokens": 0})
            cost["verdicts"] += 1
            for name in ("prompt_tokens", "completion_tokens"):
                cost[name] += flags[name]
            if "usd" in flags:
                cost["usd"] = round(cost.get("usd", 0.0) + flags["usd"], DIGITS)
    return found


def differences(before: Sequence[Asked], after: Sequence[Asked], judges: dict[str, Judge]) -> list[dict[str, Any]]:
    """After minus before on the questions that both have a verdict for."""
    entries, means = [], _means(judges)
    for first, second in zip(before, after, strict=True):
        for judge, metric, values in _paired(first, second, judges):
            estimate = stats.paired_mean(*values) if (judge, metric) in means else stats.paired_rate(*values)
            unscored = max(_unscored(first, judge), _unscored(second, judge))
            entries.append(
                {**_where(second), "judge": judge, "metric": metric, **_numbers(estimate), "p_value": _round(estimate.p_value or 0.0), "unscored": unscored}
            )
    return entries


def _paired(first: Asked, second: Asked, judges: dict[str, Judge]) -> Iterator[tuple[str, str, tuple[list[Any], list[Any]]]]:
    for judge, metric in measured(second, judges):
        if metric == "unscored_rate":
            continue
        if judge not in second.verdicts:
            pair = (measured(first, judges)[judge, metric], measured(second, judges)[judge, metric])
            yield judge, metric, (list(pair[0]), list(pair[1]))
            continue
        how = judges[judge].measures(second.kind)[metric]
        pairs = [(told(how, a), told(how, b)) for a, b in zip(first.verdicts[judge], second.verdicts[judge], strict=True)]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        yield judge, metric, ([a for a, _ in both], [b for _, b in both])


def _where(asked: Asked) -> dict[str, str]:
    return {"benchmark": asked.asking.benchmark, "ask": asked.asking.ask, "condition": asked.asking.condition}


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {"value": _round(estimate.value), "low": _round(estimate.low), "high": _round(estimate.high), "n": estimate.n}


def _round(value: float) -> float:
    return round(value, DIGITS)


def _unscored(asked: Asked, judge: str) -> int:
    return sum(verdict.value is None for verdict in asked.verdicts.get(judge, []))


def check_unscored(asked: Sequence[Asked], most: float) -> None:
    """Refuse a result of which too much could not be read.

    Raises:
        FtsafetyError: names benchmark, condition, judge and share.
    """
    for one in asked:
        for judge, verdicts in one.verdicts.items():
            share = sum(verdict.value is None for verdict in verdicts) / len(verdicts)
            if share > most:
                raise FtsafetyError(
                    f"judge {judge} could not read {share:.0%} of the answers to {one.asking.benchmark} ({one.asking.condition}), "
                    f"and at most {most:.0%} is allowed; use a judge that reads them, or accept it with max_unscored=1.0. Everything done so far is kept."
                )
