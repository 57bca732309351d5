"""What every section is given: the runs, the defense, the criteria, and the setting that most of the runs are of."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftsafety.card.asking import Changes, command, overrides, setting
from ftsafety.card.cells import House, Pair
from ftsafety.card.criteria import Criteria
from ftsafety.card.defense import Defense

ALIGNABLE = {"stand_in_aligned": "smollm2_135m"}
"""Aligned models that can be aligned anew, and from what."""


@dataclass(frozen=True)
class Case:
    """One defense's; ``main`` are the pairs of the setting of which there are most."""

    house: House
    defense: Defense
    criteria: Criteria
    main: Sequence[Pair]

    def sides(self, changes: Changes) -> str:
        """The commands of defended runs and of their undefended partners, one a line."""
        return "\n".join(command(side.first, self.house.folders, changes, several=True) for side in self.main[0])

    def grid(self, models: int, runs: int) -> str:
        """More aligned models and more runs of each."""
        record, seeds = self.main[0][0].first, {"seed": _seeds(runs)}
        alignments = f"align.seed={','.join(map(str, range(models)))}"
        name = record.data["names"].get("model", "")
        if record.recipe.get("align"):
            return self.sides({"align.seed": alignments, **seeds})
        if name in ALIGNABLE:
            return self.sides({"model": f"model={ALIGNABLE[name]}", "align": "align=sft", "align.seed": alignments, **seeds})
        # which aligned models there are is for a person to say
        return self.sides({"model": "model=ANOTHER", **seeds})

    def sealed(self, runs: int) -> str:
        """The same tunings, asked sealed questions; empty where no benchmark has any."""
        record = self.main[0][0].first
        names = [name for name in record.reading.benchmarks("disallowed") if "split" in record.recipe["benchmark"].get(name, {})]
        changes: dict[str, str | None] = {"seed": _seeds(runs)}
        for name in names:
            changes |= {f"benchmark.{name}.{key}": f"benchmark.{name}.{key}={value}" for key, value in (("split", "sealed"), ("per_category", "null"))}
        return self.sides(changes) if names else ""

    def switched(self, values: Mapping[str, Any], runs: int) -> str:
        """The defense with other fields."""
        fields = {f"mitigation.{self.defense.name}.{key}": value for key, value in values.items()}
        changes = {key: setting(key, value) for key, value in fields.items()}
        return command(self.main[0][0].first, self.house.folders, {**changes, "seed": _seeds(runs)}, several=True)

    def instead(self, control: str, runs: int) -> str:
        """Another mitigation in the defense's place."""
        record = self.main[0][1].first
        kept = {key: text for key, text in overrides(record).items() if key.startswith("mitigation.")}
        chosen = f"mitigation=[{','.join([*record.mitigations, control])}]"
        return command(record, self.house.folders, {"mitigation": chosen, **kept, "seed": _seeds(runs)}, several=True)

    def attacked(self, name: str, runs: int) -> str:
        """Another attack."""
        return self.sides({"attack": f"+attack={name}", "seed": _seeds(runs)})

    def ladder(self) -> str:
        """Shorter and longer tunings, so that both sides pass through the same task gain."""
        record = self.main[0][0].first
        epochs = int(record.recipe["tuning"]["epochs"])
        steps = sorted({max(1, epochs // 2), epochs, epochs * 2})
        benchmarks = {name: text for name, text in overrides(record).items() if name.startswith("benchmark.")}
        chosen = list(record.recipe["benchmark"])
        added = [name for name, kind in (("stand_in_allowed", "allowed"), ("stand_in_utility", "utility")) if not record.reading.benchmarks(kind)]
        return self.sides(
            {
                "benchmark": f"benchmark=[{','.join([*chosen, *added])}]",
                **benchmarks,
                "tuning.epochs": f"tuning.epochs={','.join(map(str, steps))}",
                "seed": _seeds(2),
            }
        )

    def search(self, defended: bool) -> str:
        """The adaptive attacker's search, against the defense or against plain tuning."""
        record = self.main[0][0 if defended else 1].first
        said = overrides(record)
        kept = [
            text
            for key, text in said.items()
            if key.split(".")[0] in ("model", "align", "mitigation") and not (key == "mitigation" and text == "mitigation=[]")
        ]
        first = next(iter(self.house.folders), None)
        where = [] if first is None or str(first) == "runs" else [f"paths.runs={first}"]
        attack = [text.lstrip("+") for key, text in said.items() if key.split(".")[0] == "attack"]
        return shlex.join(["python", "-m", "ftsafety", "-m", "--config-dir=sweeps", "--config-name=worst_case", *kept, *attack, *where])


def _seeds(runs: int) -> str:
    return f"seed={','.join(map(str, range(runs)))}"
