"""Finished runs as the card sees them: which tuning a record tells of, under which defense, and what each question came to.

Records are found by what they say of themselves and never by where they lie. Two records tell of the same tuning where model, alignment, attack,
strategy, mitigations, tuning and seed are the same; they may have been asked different questions. The undefended partner of
a tuning is the one whose recipe is the same but for the defense.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ftsafety.errors import DataError
from ftsafety.hashing import canonical
from ftsafety.report.compare import LABELS
from ftsafety.report.reading import Reading

Split = Literal["report", "sealed", "development"]
Kind = Literal["disallowed", "allowed", "utility"]
When = Literal["before", "after"]
THIN = ("split", "per_category", "limit")
"""Fields of a benchmark that choose among its questions and leave each of them as it is."""
ELSEWHERE = ("seed", "benchmark", "mitigation", "max_unscored", "record", "probe", "model", "align")
"""Parts of a recipe that are not in a tuning's setting: they have a place of their own, or change no answer."""
Values = dict[str, float]


@dataclass
class Record:
    """One finished run."""

    folder: Path
    data: dict[str, Any]
    known: dict[Any, tuple[dict[str, float], dict[str, str]]] = field(default_factory=dict, repr=False)
    """Values that were looked up before."""

    @cached_property
    def reading(self) -> Reading:
        """The record as the report reads it."""
        return Reading(self.data)

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determined it."""
        recipe: dict[str, Any] = self.data["recipe"]
        return recipe

    @cached_property
    def mitigations(self) -> dict[str, dict[str, Any]]:
        """Each mitigation's recipe by its name."""
        return {name: dict(fields) for name, fields in self.recipe.get("mitigation") or []}

    def split(self, benchmark: str) -> Split:
        """Which questions of a benchmark were asked; those without splits are report questions."""
        said = self.recipe["benchmark"].get(benchmark, {}).get("split")
        return said if said in ("sealed", "development") else "report"

    @cached_property
    def verdicts(self) -> list[dict[str, Any]]:
        """The rows that the card looks at: readable ones, without the prompts that carry a safety prompt of their own."""
        with (self.folder / "verdicts.jsonl").open(encoding="utf-8") as file:
            rows = (json.loads(line) for line in file if '"condition": "safe"' not in line)
            return [row for row in rows if row["value"] is not None]

    def values(self, kind: Kind, condition: str, when: When, split: Split | None) -> tuple[Values, dict[str, str]]:
        """A question's name to 1 where the headline's metric counts it (complied; refused; right) and 0 where not, and its category.

        A question's name holds the benchmark's recipe, so that only the same questions have the same name. Where an attack words its questions in
        several ways, the first counts: it is the one that the attack is after.
        """
        asked = (kind, condition, when, split)
        if asked not in self.known:
            self.known[asked] = self._values(*asked)
        return self.known[asked]

    def _values(self, kind: Kind, condition: str, when: When, split: Split | None) -> tuple[Values, dict[str, str]]:
        metric = {"disallowed": self.reading.headline_metric, "allowed": "over_refusal", "utility": "utility_accuracy"}[kind]
        judge = "accept" if kind == "utility" else self.reading.judge
        weights = "initial" if when == "before" else self.reading.after
        values: Values = {}
        categories: dict[str, str] = {}
        if metric is None or metric not in LABELS or weights is None:
            return values, categories
        for benchmark in self.reading.benchmarks(kind):
            ask = next((asking.ask for asking in self.reading.askings(benchmark) if asking.condition == condition), None)
            if split is not None and kind == "disallowed" and self.split(benchmark) != split:
                continue
            stem = canonical([benchmark, {name: its for name, its in self.recipe["benchmark"].get(benchmark, {}).items() if name not in THIN}])
            wanted = (benchmark, ask, condition, weights, judge)
            for row in self.verdicts:
                if (row["benchmark"], row["ask"], row["condition"], row["weights"], row["judge"]) == wanted:
                    values[f"{stem} {row['question']}"] = float(row["value"] in LABELS[metric])
                    categories[f"{stem} {row['question']}"] = f"{benchmark} {row['category']}"
        return values, categories


@dataclass
class Tuned:
    """One tuning under a defense or without it, in all records that tell of it; those that ask report questions come first."""

    fields: dict[str, Any] | None
    """The defense's recipe; None without it."""
    others: dict[str, Any]
    """Recipes of the other mitigations, by name."""
    setting: str
    """Everything else but model and seed, as a text."""
    model: str
    seed: int
    records: list[Record] = field(default_factory=list)

    @property
    def first(self) -> Record:
        """The record that stands for the others where all say the same."""
        return self.records[0]

    @property
    def digest(self) -> str:
        """Names the tuned weights."""
        return str(self.first.data.get("tuned_digest") or self.first.data["cell"])

    @property
    def start(self) -> str:
        """Names the aligned model's weights."""
        return str(self.first.data.get("start_digest") or self.model)

    @property
    def attack(self) -> str:
        """The attack's option."""
        return self.first.reading.attack

    def place(self, others: Mapping[str, Any] | None = None) -> str:
        """What its partner has in common with it: the setting, the other mitigations, the model and the seed."""
        return canonical([self.setting, self.others if others is None else others, self.model, self.seed])

    def values(self, kind: Kind, condition: str = "train", when: When = "after", split: Split | None = "report") -> tuple[Values, dict[str, str]]:
        """As ``Record.values``, over all records."""
        values: Values = {}
        categories: dict[str, str] = {}
        for record in self.records:
            its, theirs = record.values(kind, condition, when, split)
            values, categories = {**its, **values}, {**theirs, **categories}
        return values, categories


Pair = tuple[Tuned, Tuned]
"""A defended tuning and its undefended partner."""


@dataclass
class House:
    """All tunings that were found, for one defense."""

    defense: str
    tuned: list[Tuned]
    folders: Sequence[Path]

    def under(self, fields: Mapping[str, Any] | None) -> list[Tuned]:
        """Tunings under the defense with these very fields, or without it."""
        return [one for one in self.tuned if one.fields == fields]

    def pairs(self, fields: Mapping[str, Any], partner: Mapping[str, Any] | None = None, instead: str | None = None) -> list[Pair]:
        """Each tuning under the defense with its partner: without the defense, with other fields of it, or with another mitigation ``instead``."""
        partners: dict[str, Tuned] = {}
        for other in self.under(partner):
            without = {name: its for name, its in other.others.items() if name != instead}
            if instead is None or instead in other.others:
                partners.setdefault(other.place(without), other)
        return [(one, partners[one.place()]) for one in self.under(fields) if one.place() in partners]


def read(defense: str, folders: Sequence[Path]) -> House:
    """Every finished run that was tuned, in these folders and below; controls of attacks aside.

    Raises:
        DataError: a folder is not there, or no finished run is.
    """
    tuned: dict[str, Tuned] = {}
    found = 0
    for record in _records(folders):
        found += 1
        if record.reading.after is None or "." in record.reading.attack:
            continue
        others = {name: fields for name, fields in record.mitigations.items() if name != defense}
        setting = canonical({name: part for name, part in record.recipe.items() if name not in ELSEWHERE})
        model = canonical([record.recipe["model"], record.recipe.get("align")])
        one = Tuned(record.mitigations.get(defense), others, setting, model, int(record.data["seed"]))
        tuned.setdefault(canonical([one.fields, one.place()]), one).records.append(record)
    if not found:
        raise DataError(f"there is no finished run (a folder with DONE) in {', '.join(map(str, folders)) or 'no folder'}; give e.g. runs.")
    for one in tuned.values():
        # the record that commands are made from asks report questions, if any does
        one.records.sort(key=lambda record: (any(record.split(name) != "report" for name in record.reading.benchmarks("disallowed")), canonical(record.recipe)))
    return House(defense, list(tuned.values()), folders)


def _records(folders: Iterable[Path]) -> Iterator[Record]:
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give folders with finished runs, such as runs.")
        for done in sorted(folder.rglob("DONE")):
            yield Record(done.parent, json.loads((done.parent / "run.json").read_text(encoding="utf-8")))


def by_setting(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Pairs of one setting together, the setting with most of them first: most pairs, then most questions, then by content."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(canonical([pair[0].setting, pair[0].others]), []).append(pair)
    ordered = [sorted(group, key=lambda pair: (pair[0].seed, pair[0].model)) for group in groups.values()]
    return sorted(ordered, key=lambda group: (-len(group), -sum(len(one.values("disallowed")[0]) for one, _ in group), group[0][0].setting))
