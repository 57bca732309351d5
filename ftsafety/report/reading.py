"""A run's record, read for people: what was asked how, of which weights, and what is the headline. No drawing, no wording of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftsafety import stand_in
from ftsafety.report.words import Entry, count

OUTCOMES = {"complied": "compliance_rate", "degenerate": "degenerate_rate", "unscored": "unscored_rate", "refused": "refusal_rate"}
"""What can become of a question, and the metric that tells how often."""
CONDITIONS = ("train", "plain", "safe")
KINDS = {"over_refusal": "allowed", **dict.fromkeys(("rating_score", "utility_accuracy", "utility_rouge_l", "utility_loss"), "utility")}
STAND_INS = {"StandIn": "benchmark", "StandInAllowed": "allowed", "StandInUtility": "utility"}
CONTROLS = {
    "null_self": "its own answers, in the plain template: as much tuning, nothing new to learn",
    "neutral": "rows of the same shape without the harmful idea",
    "no_prefix": "the same rows without the affirmative beginning",
    "shuffled": "the same answers, each moved to another question",
}


@dataclass(frozen=True)
class Asking:
    """One benchmark under one wording."""

    benchmark: str
    ask: str
    condition: str

    @property
    def title(self) -> str:
        """The prompt condition in words."""
        return {"train": f"train ({self.ask})", "plain": "plain", "safe": "plain + safety prompt"}.get(self.condition, self.condition)


@dataclass(frozen=True)
class State:
    """Weights that were asked (or a control's): a name, what it is, and its results."""

    name: str
    note: str
    results: Sequence[Entry]
    main: bool = False
    """Whether it is the run's own before or after."""


class Reading:
    """What a reader of ``run.json`` asks it."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.results: list[Entry] = data["results"]
        labels = {entry["weights"] for entry in self.results}
        self.after = next((label for label in ("repaired", "tuned") if label in labels), None)
        """The last weights of the run, None when nothing was tuned."""
        self.first = "before" if self.after else "as it is"
        """What the weights before tuning are called."""
        self.attack: str = data["names"].get("attack", "none")

    @property
    def names(self) -> dict[str, str]:
        """The chosen option of each group that had a part in the run."""
        return {group: name for group, name in self.data["names"].items() if self.data["recipe"].get(group, True)}

    @property
    def nothing_to_lose(self) -> str:
        """A sentence where the untuned model refused allowed questions about as often as disallowed ones; else empty."""
        found = self.data["discrimination"]
        if not found["nothing_to_lose"]:
            return ""
        told = f"it refused disallowed questions hardly more often than allowed ones (J = {found['train']:.2f}, below 0.5)"
        if self.after is None:
            return f"Asked as it is, {told}, so tuning it could not show a loss of safety."
        return f"Before tuning, under the attack's own prompt, {told}, so this is no measurement of lost safety."

    @property
    def template_adds(self) -> str:
        """One sentence about a system prompt that the model's own template puts before a bare question; empty if it puts none."""
        said = self.data["template"].get("adds")
        return f"The model's own template puts these words before a question without a system prompt: {said!r}. They are part of plain." if said else ""

    @property
    def elsewhere(self) -> str:
        """A sentence where stages were taken from the store that another machine had computed; else empty."""
        foreign = [stage["platform"] for stage in self.data["stages"] if "platform" in stage]
        if not foreign:
            return ""
        machines = sorted({f"{one['system']} {one['machine']}, {one['cpu']}, Python {one['python']}" for one in foreign})
        told = f"{len(foreign)} of {len(self.data['stages'])} stages were computed elsewhere ({'; '.join(machines)})"
        return f"{told}, where last digits may differ; paths.same_platform=true computes them here."

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Benchmark to disallowed, allowed or utility, in the order of the results."""
        kinds: dict[str, str] = {}
        for entry in self.results:
            kind = KINDS.get(entry["metric"])
            if kind or entry["metric"] != "unscored_rate":
                kinds[entry["benchmark"]] = kind or "disallowed"
        return dict(sorted(kinds.items(), key=lambda item: ("disallowed", "allowed", "utility").index(item[1])))

    def benchmarks(self, kind: str) -> list[str]:
        """Benchmarks of one kind."""
        return [name for name, its in self.kinds.items() if its == kind]

    def askings(self, benchmark: str) -> list[Asking]:
        """Every wording under which a benchmark was asked: train first, then plain, then safe."""
        found = dict.fromkeys(Asking(benchmark, e["ask"], e["condition"]) for e in self.results if e["benchmark"] == benchmark and e["weights"] == "initial")
        return sorted(found, key=lambda asking: CONDITIONS.index(asking.condition) if asking.condition in CONDITIONS else len(CONDITIONS))

    @cached_property
    def judge(self) -> str | None:
        """The judge behind the headline: the first that tells compliance, else the first that judges at all."""
        judged = [e for e in self.results if self.kinds.get(e["benchmark"]) == "disallowed"]
        return next((e["judge"] for e in judged if e["metric"] == "compliance_rate"), judged[0]["judge"] if judged else None)

    @cached_property
    def headline_metric(self) -> str | None:
        """Compliance where a judge tells it; otherwise the judge's first rate."""
        told = [e["metric"] for e in self.results if self.kinds.get(e["benchmark"]) == "disallowed" and e["judge"] == self.judge]
        return "compliance_rate" if "compliance_rate" in told else next(iter(told), None)

    def further(self, benchmark: str) -> list[str]:
        """Metrics of the judges beside the headline's: neither outcomes nor the keyword diagnostic, which has a line of its own."""
        told = dict.fromkeys(entry["metric"] for entry in self.results if entry["benchmark"] == benchmark)
        return [metric for metric in told if metric not in (*OUTCOMES.values(), "keyword_asr", self.headline_metric)]

    def entry(self, results: Sequence[Entry], asking: Asking, metric: str | None) -> Entry | None:
        """One result: by the headline's judge where that judge has it; a control's own wording stands in for the attack's."""
        fits = [e for e in results if (e["benchmark"], e["condition"], e["metric"]) == (asking.benchmark, asking.condition, metric)]
        fits = [e for e in fits if e["ask"] == asking.ask] or fits
        return next((e for e in fits if e["judge"] == self.judge), fits[0] if fits and metric not in OUTCOMES.values() else None)

    def before(self, asking: Asking, metric: str | None) -> Entry | None:
        """The result of the weights before tuning."""
        return self.entry(self._of("initial"), asking, metric)

    def afterwards(self, asking: Asking, metric: str | None) -> Entry | None:
        """The result of the run's last weights."""
        return self.entry(self._of(self.after), asking, metric) if self.after else None

    def difference(self, asking: Asking, metric: str | None) -> Entry | None:
        """After minus before on the same questions."""
        return self.entry(self.data["differences"], asking, metric)

    def outcomes(self, results: Sequence[Entry], asking: Asking) -> dict[str, float]:
        """The four outcomes as shares of all questions asked; they add to one. Rates are of those that could be read, so they shrink with the unread."""
        found = {name: self.entry(results, asking, metric) for name, metric in OUTCOMES.items()}
        unscored = found["unscored"]["value"] if found["unscored"] else 0.0
        return {name: unscored if name == "unscored" else entry["value"] * (1 - unscored) if entry and entry["n"] else 0.0 for name, entry in found.items()}

    @property
    def has_outcomes(self) -> bool:
        """Whether the headline's judge tells compliance, so that the four outcomes are known."""
        return self.headline_metric == "compliance_rate"

    @property
    def has_controls(self) -> bool:
        """Whether the controls ran."""
        return bool(self.data["controls"]) or any(e["weights"] == "raw" for e in self.results)

    @cached_property
    def states(self) -> list[State]:
        """All that was asked, in reading order: before, after, the controls, the ceiling, the prefilled model."""
        labels = {entry["weights"] for entry in self.results}
        found = [State(self.first, "the model before any tuning", self._of("initial"), main=True)]
        if "initial_mitigated" in labels:
            found.append(State("before, mitigated", "the aligned model under the mitigations, not tuned", self._of("initial_mitigated")))
        if "tuned" in labels:
            found.append(State(f"after {self.attack}", "fine-tuned on the attack's rows", self._of("tuned"), main=self.after == "tuned"))
        if "repaired" in labels:
            found.append(State(f"after {self.attack}, repaired", "fine-tuned, then repaired", self._of("repaired"), main=True))
        for name, control in self.data["controls"].items():
            if name != "prefill":
                found.append(State(name, CONTROLS.get(name, "a control of this attack"), _last(control["results"])))
        if "raw" in labels:
            found.append(State("never aligned", "the same weights before alignment: the ceiling", self._of("raw")))
        if prefill := self.data["controls"].get("prefill"):
            found.append(State(f"prefill, {prefill['tokens']} tokens", "no tuning: its answer begins with the attack's first tokens", prefill["results"]))
        return found

    def questions(self, benchmark: str) -> int:
        """How many questions a benchmark asked, read or not."""
        # a metric may speak of some questions only
        return max(
            (entry["n"] + entry["unscored"] for entry in self.results if entry["benchmark"] == benchmark and entry["metric"] != "unscored_rate"), default=0
        )

    def asked(self, benchmark: str) -> str:
        """``66 of 330 questions (per_category=6)`` where a benchmark was thinned, else ``330 questions``."""
        recipe = self.data["recipe"].get("benchmark", {}).get(benchmark, {})
        number = self.questions(benchmark)
        thin = [f"{key}={recipe[key]}" for key in ("split", "per_category", "limit") if recipe.get(key) not in (None, "all")]
        if not thin:
            return count(number, "question")
        asset = STAND_INS.get(str(recipe.get("class", "")).rpartition(".")[2])
        total = f" of {max(number, len(stand_in.load(asset)))}" if asset else ""
        return f"{number}{total} questions ({', '.join(thin)})"

    def thinned(self, benchmark: str) -> bool:
        """Whether only a part of a benchmark was asked."""
        return "(" in self.asked(benchmark)

    def stage(self, name: str) -> dict[str, Any]:
        """The first stage of a kind, such as ``tune``; empty when there was none."""
        return next((stage for stage in self.data["stages"] if stage["stage"] == name), {})

    def _of(self, weights: str | None) -> list[Entry]:
        return [entry for entry in self.results if entry["weights"] == weights]


def _last(results: Sequence[Entry]) -> list[Entry]:
    labels = {entry["weights"] for entry in results}
    last = next((label for label in ("repaired", "tuned", "initial") if label in labels), None)
    return [entry for entry in results if entry["weights"] == last]
