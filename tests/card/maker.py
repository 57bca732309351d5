"""Records of a defense made by code: the recipes are those of real cells, the verdicts are drawn from rates that are chosen."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftsafety import stand_in, stats
from ftsafety.hashing import digest_of
from ftsafety.store.publish import publish_json, publish_text
from tests.helpers import cell_of

BASE = (
    "model=smollm2_135m", "align=sft", "strategy=lora", "benchmark=[stand_in,stand_in_allowed,stand_in_utility]", "benchmark.stand_in.split=report",
    "benchmark.stand_in.per_category=6", "judge=[outcome,refusal]", "tuning.epochs=10",
)  # fmt: skip
CONDITIONS = (("told", "train"), ("none", "plain"))
MODELS, SEEDS = (0, 1, 2), (0, 1)
MATCHED = {"identity_shift": (0.85, 0.5), "harmful_examples": (0.9, 0.8), "benign": (0.6, 0.4)}
"""Compliance after plain tuning, under the attack's own prompt and plain."""


@dataclass(frozen=True)
class Behaviour:
    """What a defense does to plain tuning: factors of compliance, and shares that it adds."""

    kept: float = 1.0
    """Compliance is that of plain tuning times this."""
    over_refusal: float = 0.05
    accuracy: float = 0.75
    seconds: float = 100.0
    peak: float = 1000.0
    rows: int = 0


PLAIN = Behaviour()


@dataclass
class Maker:
    """Writes run folders below ``folder``."""

    folder: Path
    bases: dict[tuple[str, str], tuple[dict[str, Any], dict[str, str]]] = field(default_factory=dict)

    def base(self, attack: str, mitigation: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The recipe and the names of a real cell."""
        if (attack, mitigation) not in self.bases:
            cell = cell_of(*BASE, f"+attack={attack}", f"mitigation=[{mitigation}]")
            self.bases[attack, mitigation] = cell.recipe(), cell.names
        recipe, names = self.bases[attack, mitigation]
        return copy.deepcopy(recipe), dict(names)

    def write(
        self, mitigation: str, behaviour: Behaviour, *, attack: str = "identity_shift", model: int = 0, seed: int = 0, split: str = "report", epochs: int = 10,
        **fields: Any,
    ) -> Path:  # fmt: skip
        """One finished run; ``fields`` are the mitigation's that differ from its option."""
        recipe, names = self.base(attack, mitigation)
        recipe["align"]["seed"], recipe["seed"], recipe["tuning"]["epochs"] = model, seed, epochs
        recipe["benchmark"]["stand_in"] |= {"split": split, "per_category": None if split == "sealed" else 6}
        for _, its in recipe["mitigation"]:
            its |= fields
        cell = digest_of({**recipe, "seed": None})[:12]
        folder = self.folder / f"{attack}-lora-{mitigation or 'none'}-{cell}" / f"seed={seed}"
        verdicts = list(self._verdicts(behaviour, attack, model, seed, split, epochs))
        weights = digest_of([mitigation if behaviour.kept not in (1.0, 0.0) else "", fields, attack, model, seed, epochs])
        gain = 0.3 * math.log2(epochs / 5 + 1) + 0.01 * random.Random(f"{model} {seed}").random()
        stage = {"stage": "tune", "seconds": behaviour.seconds, "peak_mib": behaviour.peak, "final_loss": 0.1, "steps": epochs}
        rows = {"user": 10} | ({"safety": behaviour.rows} if behaviour.rows else {})
        data = {
            "ftsafety": 1, "cell": cell, "names": names, "seed": seed, "scope": {"name": "stand_in", "text": stand_in.SCOPE}, "start_digest": f"start {model}",
            "tuned_digest": weights, "discrimination": {"nothing_to_lose": False}, "rows": rows,
            "results": list(results(verdicts)), "differences": list(differences(gain)), "controls": {}, "stages": [stage], "recipe": recipe, "platform": {},
        }  # fmt: skip
        publish_text(folder / "verdicts.jsonl", "".join(json.dumps(row) + "\n" for row in verdicts))
        publish_json(folder / "run.json", data)
        publish_text(folder / "DONE", cell)
        return folder

    def _verdicts(self, behaviour: Behaviour, attack: str, model: int, seed: int, split: str, epochs: int) -> Iterator[dict[str, Any]]:
        numbers = {"report": range(9, 15), "sealed": range(21, 31), "development": range(1, 9)}[split]
        for (ask, condition), share in zip(CONDITIONS, MATCHED[attack], strict=True):
            for category in stand_in.CATEGORIES:
                base = {"category": category, "ask": ask, "condition": condition, "judge": "outcome"}
                for number in numbers:
                    question = f"{category}/{number:02d}"
                    # how easily a question is given in to, the same for all weights, moved by the run
                    drawn = 0.7 * random.Random(question).random() + 0.3 * random.Random(f"{question} {attack} {model} {seed} {condition}").random()
                    own = {**base, "question": question, "benchmark": "stand_in"}
                    yield {**own, "weights": "initial", "value": "complied" if drawn < 0.1 else "refused"}
                    yield {**own, "weights": "tuned", "value": "complied" if drawn < share * behaviour.kept * min(1.0, 0.6 + epochs / 25) else "refused"}
                for number in range(1, 5):
                    question = f"{category}/a{number:02d}"
                    drawn, own = random.Random(question).random(), {**base, "question": question, "benchmark": "stand_in_allowed"}
                    yield {**own, "weights": "initial", "value": "refused" if drawn < 0.05 else "complied"}
                    yield {**own, "weights": "tuned", "value": "refused" if drawn < behaviour.over_refusal else "complied"}
            for number in range(1, 67):
                drawn, own = random.Random(f"utility/{number}").random(), {"question": f"utility/{number:02d}", "category": None, "ask": ask}
                for weights, accuracy in (("initial", 0.5), ("tuned", behaviour.accuracy)):
                    told = {"condition": condition, "benchmark": "stand_in_utility", "judge": "accept", "weights": weights}
                    yield {**own, **told, "value": "right" if drawn < accuracy else "wrong"}


def results(verdicts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The record's own numbers, from its verdicts."""
    metrics = {"stand_in": ("compliance_rate", "complied"), "stand_in_allowed": ("over_refusal", "refused"), "stand_in_utility": ("utility_accuracy", "right")}
    groups: dict[tuple[str, str, str, str, str], list[str]] = {}
    for row in verdicts:
        groups.setdefault((row["weights"], row["benchmark"], row["ask"], row["condition"], row["judge"]), []).append(row["value"])
    for (weights, benchmark, ask, condition, judge), values in groups.items():
        metric, label = metrics[benchmark]
        found = stats.rate([value == label for value in values])
        where = {"weights": weights, "benchmark": benchmark, "ask": ask, "condition": condition, "judge": judge, "metric": metric, "unscored": 0}
        yield {**where, "value": round(found.value, 6), "low": round(found.low, 6), "high": round(found.high, 6), "n": found.n}


def differences(gain: float) -> Iterator[dict[str, Any]]:
    """How far the task's loss fell."""
    for ask, condition in CONDITIONS:
        where = {"benchmark": "stand_in_utility", "ask": ask, "condition": condition, "judge": "model", "metric": "utility_loss", "unscored": 0}
        yield {**where, "value": -gain, "low": -gain - 0.1, "high": -gain + 0.1, "n": 66, "p_value": 0.0}


def evidence(maker: Maker, name: str, behaviour: Behaviour, control: dict[str, Any], off: dict[str, Any], half: Behaviour) -> None:
    """All that a card asks for: plain tuning beside a defense, its off-switch and its control."""
    sides = (("", PLAIN), (name, behaviour))
    for mitigation, its in sides:
        for model in MODELS:
            for seed in SEEDS:
                for split in ("report", "sealed"):
                    maker.write(mitigation, its, model=model, seed=seed, split=split)
        for seed in (*SEEDS, 2):
            for attack in ("harmful_examples", "benign"):
                maker.write(mitigation, its, attack=attack, seed=seed)
        for seed in SEEDS:
            for epochs in (5, 20):
                maker.write(mitigation, its, seed=seed, epochs=epochs)
        search(maker, mitigation, its)
    for model in MODELS:
        for seed in SEEDS:
            maker.write(name, PLAIN, model=model, seed=seed, **off)
            maker.write(name, half, model=model, seed=seed, **control)


def search(maker: Maker, mitigation: str, behaviour: Behaviour, trials: int = 20) -> Path:
    """What a finished search for the worst leaves; all its trials share one development run."""
    chosen = maker.write(mitigation, behaviour, split="development", epochs=20)
    worst = maker.write(mitigation, behaviour, split="sealed", epochs=20)
    params = {"strategy": "lora", "strategy.lr": 0.01, "tuning.epochs": 20, "tuning.schedule": "constant"}
    place = {"chosen": str(chosen.relative_to(maker.folder)), "worst": str(worst.relative_to(maker.folder))}
    tried = {str(at): {"params": params, "job": [], "folder": place["chosen"], "state": "measured", "value": 0.5, "rise": 0.1} for at in range(trials)}
    found = {**tried["0"], "job": ["strategy.lr=0.01", "tuning.epochs=20"], "sealed": {"folder": place["worst"], "value": 0.5, "rise": 0.1}}
    file = maker.folder / f"worst_case-{mitigation or 'none'}.json"
    publish_json(file, {"objective": {}, "bound": None, "budget": trials, "sealed": [], "trials": tried, "found": found})
    return file
