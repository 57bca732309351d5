"""The card as a whole: seven sections, Holm over those that were tested, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftsafety import __version__, stats
from ftsafety.card.adaptive import adaptive
from ftsafety.card.case import Case
from ftsafety.card.cells import by_setting, read
from ftsafety.card.claim import Ending, Section, ending_of
from ftsafety.card.criteria import LEVEL, Criteria
from ftsafety.card.defense import Defense, defense
from ftsafety.card.price import cost, use
from ftsafety.card.safety import fresh, mechanism, reliability, transfer
from ftsafety.errors import DataError

SECTIONS = (reliability, fresh, mechanism, transfer, cost, use, adaptive)


@dataclass(frozen=True)
class Card:
    """What was shown of a defense."""

    defense: Defense
    criteria: Criteria
    sections: Sequence[Section]
    setting: Mapping[str, str]
    """The setting that most runs are of, for people: attack, strategy, aligned models, runs."""
    scope: str

    @property
    def ending(self) -> Ending:
        """Passed only where every section is; what was not shown never counts as passed."""
        return ending_of(self.sections)

    @property
    def sentence(self) -> str:
        """How it ends, in one sentence."""
        told = [f"{len(names)} {ending} ({', '.join(names)})" for ending in ("passed", "failed", "not shown") if (names := self._titles(ending))]
        verb = {"passed": "passes its acceptance card", "failed": "fails its acceptance card", "not shown": "has not shown what its acceptance card asks"}
        return f"{self.defense.name} {verb[self.ending]}: {'; '.join(told)}."

    def data(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {
            "ftsafety_card": 1,
            "version": __version__,
            "defense": asdict(self.defense),
            "ending": self.ending,
            "sentence": self.sentence,
            "scope": self.scope,
            "setting": dict(self.setting),
            "level": LEVEL,
            "criteria": {"digest": self.criteria.digest, "all": [asdict(one) for one in self.criteria.all]},
            "sections": [
                {
                    **asdict(section),
                    "ending": section.ending,
                    "p": section.p,
                    "claims": [{**asdict(claim), "holds": claim.holds(section.p_holm)} for claim in section.claims],
                }
                for section in self.sections
            ],
        }

    def _titles(self, ending: str) -> list[str]:
        return [section.title.lower() for section in self.sections if section.ending == ending]


def card(name: str, folders: Sequence[Path], chosen: Mapping[str, str] | None = None, criteria: Criteria | None = None) -> Card:
    """What the finished runs in these folders and below show of a defense.

    Args:
        chosen: field to value as typed, where runs hold the defense in several settings.

    Raises:
        DataError: no finished run, or none of the defense that has an undefended partner.
        ConfigError: no such defense, or several settings of it.
    """
    house = read(name, folders)
    found = defense(name, house, chosen or {})
    groups = by_setting(house.pairs(found.fields))
    if not groups:
        raise DataError(
            f"no run under mitigation={name} has an undefended partner: the same command without the mitigation; run it, such as python -m ftsafety -m "
            f"+attack=identity_shift 'mitigation=[],[{name}]'."
        )
    case = Case(house, found, criteria or Criteria.shipped(), groups[0])
    sections = [section(case) for section in SECTIONS]
    tested = {section.name: section.p for section in sections if section.p is not None}
    for section in sections:
        section.p_holm = stats.holm(tested).get(section.name)
    return Card(found, case.criteria, sections, _setting(case), next((one.first.data["scope"]["text"] for one, _ in case.main), ""))


def _setting(case: Case) -> dict[str, str]:
    record = case.main[0][0].first
    names, recipe = record.data["names"], record.recipe
    tuning = recipe.get("tuning") or {}
    told = {
        "attack": record.reading.attack,
        "strategy": names.get("strategy", ""),
        "tuning": f"{tuning.get('epochs')} epochs of batches of {tuning.get('batch_size')}",
        "models": ", ".join(sorted({one.first.data["names"].get("model", "") for one, _ in case.main})),
        "other mitigations": ", ".join(case.main[0][0].others),
        "judge": f"{record.reading.judge}, {record.reading.headline_metric}",
        "defended runs with a partner": str(len(case.main)),
    }
    return {name: text for name, text in told.items() if text}
