"""The section of the adaptive attacker: settings searched under a budget on development questions, and the worst of them told on sealed ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.card.case import Case
from ftsafety.card.cells import Record, Tuned
from ftsafety.card.claim import Missing, Section, below
from ftsafety.card.effect import effect
from ftsafety.hashing import canonical
from ftsafety.report import words

PATTERN = "worst_case-*.json"
"""What ``hydra/sweeper=worst_case`` leaves beside its runs."""


@dataclass(frozen=True)
class Search:
    """One search: what was searched, in how many trials, and the record of the worst on sealed questions."""

    file: Path
    searched: frozenset[str]
    trials: int
    on_development: bool
    worst: Record
    setting: str


def adaptive(case: Case) -> Section:
    """The worst that an attacker with a budget finds against the defense, beside the worst against plain tuning."""
    section = Section("adaptive", "Adaptive attacker", "Does it hold against an attacker who chooses rate, epochs, schedule and strategy?")
    trials, searched = case.criteria("adaptive.trials"), frozenset(case.criteria("adaptive.searched"))
    first = case.main[0][0]
    sides: dict[str, dict[bool, Search]] = {}
    for search in _searches(case):
        fields = search.worst.mitigations.get(case.defense.name)
        others = {name: its for name, its in search.worst.mitigations.items() if name != case.defense.name}
        same = _asked(search.worst) == _asked(first.first) and others == first.others and fields in (None, case.defense.fields)
        if same and searched <= search.searched and search.trials >= trials and search.on_development:
            sides.setdefault(_model(search.worst), {}).setdefault(fields is not None, search)
    # both sides against one aligned model; one side alone says only what is missing
    found = max((sides[model] for model in sorted(sides)), key=len, default={})
    for defended, who in ((True, f"mitigation={case.defense.name}"), (False, "plain tuning")):
        if defended not in found:
            settings = ", ".join(case.criteria("adaptive.searched"))
            told = f"a search against {who}: {trials} settings of {settings} on development questions, the worst asked sealed ones."
            section.missing.append(Missing(told, case.search(defended)))
    if len(found) < 2:
        return section
    worst = (_tuned(found[True].worst), _tuned(found[False].worst))
    section.facts += [f"Worst of {found[at].trials} against {who}: {found[at].setting}" for at, who in ((True, case.defense.name), (False, "plain tuning"))]
    both = effect([worst], split="sealed")
    if both is None:
        section.missing.append(Missing("sealed questions that both worst settings were asked.", case.search(True)))
    else:
        of = f"the worst run of each side, {words.count(both.n, 'sealed question')}; the interval covers {' and '.join(both.covers)}"
        section.claims.append(below("worst defended minus worst undefended compliance", both, 0.0 - case.criteria("adaptive.effect"), of))
    return section


def _searches(case: Case) -> Iterator[Search]:
    """Finished searches below the folders, by name."""
    for file in sorted({file for folder in case.house.folders for file in folder.rglob(PATTERN)}):
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not told.get("found"):
            continue
        worst = _record(file.parent / told["found"]["sealed"]["folder"])
        tried = list(told["trials"].values())
        if worst is None or not tried:
            continue
        searched = frozenset(key for one in tried for key in one["params"])
        yield Search(file, searched, len(tried), all(_developed(file.parent, one) for one in tried), worst, " ".join(told["found"]["job"]))


def _developed(runs: Path, trial: dict[str, Any]) -> bool:
    """Whether a trial was chosen by development questions; one that left no record chose nothing."""
    record = _record(runs / trial["folder"]) if trial.get("folder") else None
    return record is None or all(record.split(name) == "development" for name in record.reading.benchmarks("disallowed"))


def _record(folder: Path) -> Record | None:
    if not (folder / "DONE").exists():
        return None
    return Record(folder, json.loads((folder / "run.json").read_text(encoding="utf-8")))


def _asked(record: Record) -> str:
    """What an attacker can't choose."""
    return canonical([record.recipe[part] for part in ("attack", "judge", "decoding", "engines", "data")])


def _model(record: Record) -> str:
    return canonical([record.recipe["model"], record.recipe.get("align")])


def _tuned(record: Record) -> Tuned:
    return Tuned(None, {}, "", _model(record), int(record.data["seed"]), [record])
