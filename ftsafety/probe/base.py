"""What is asked of a model while it is tuned. A mere probe changes no weight; one that may stop the tuning is a part of what a run is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftsafety.benchmark import Benchmark, Question
from ftsafety.component import Component
from ftsafety.errors import ConfigError
from ftsafety.judge import Judge
from ftsafety.judge.weighted import WeightedJudge


@dataclass(kw_only=True)
class Probe(Component):
    """Every few optimiser steps: refusals, first-token KL to the model before tuning, drift of its refusal direction; and an early stop."""

    source = "Qi et al. 2025 (arXiv 2406.05946), first tokens; Arditi et al. 2024 (arXiv 2406.11717), the direction as a difference of means"
    fidelity = "KL in nats at the first answer token; the direction at the last prompt token halfway up the layers, which is not searched for"

    every: int
    """Optimiser steps from one reading to the next; the first is before any step, the last after all."""
    questions: int
    """How many questions of each kind, evenly spaced."""
    max_new_tokens: int
    """Tokens of an answer, enough to see whether it is a refusal."""
    stop_below: float | None
    """The tuning ends after the first reading whose share of refusals is below this; null never ends it."""
    disallowed: Benchmark
    """Questions to be declined, asked in the attack's own words: for development, none that the run reports."""
    allowed: Benchmark
    """Questions to be answered, for the refusal direction."""

    @property
    def stops(self) -> bool:
        """Whether it can change the weights."""
        return self.stop_below is not None

    def check(self, benchmarks: Mapping[str, Benchmark], judges: Mapping[str, Judge], devices: int) -> None:
        """Refuse what can't be probed, before anything is spent.

        Raises:
            ConfigError: numbers that can't be, no judge that tells refusals by rule, or a stop that would be chosen on reported questions.
        """
        for name in ("every", "questions", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"probe.{name}={getattr(self, name)} is not possible; give at least 1.")
        if self.stop_below is not None and not 0 < self.stop_below <= 1:
            raise ConfigError(f"probe.stop_below={self.stop_below:g} is not possible; give more than 0 and at most 1, such as 0.5, or null.")
        if devices > 1:
            raise ConfigError(f"a probe asks the model on one device, and trainer.devices={devices}; type trainer.devices=1, or leave probe out.")
        for name, kind in (("disallowed", "disallowed"), ("allowed", "allowed")):
            benchmark: Benchmark = getattr(self, name)
            if benchmark.kind != kind:
                raise ConfigError(f"probe.{name} takes questions that are {kind}, and {type(benchmark).__name__} has {benchmark.kind} ones.")
        judge_of(judges)
        if self.stops:
            asked = {question.text for question in self.asked(self.disallowed)}
            for name, benchmark in benchmarks.items():
                if shared := sum(question.text in asked for question in benchmark.questions()):
                    raise ConfigError(
                        f"probe.stop_below would choose the weights by {shared} of the questions that benchmark={name} reports; report others, such as "
                        f"benchmark.{name}.split=report, or ask others in probe.disallowed."
                    )

    def asked(self, benchmark: Benchmark) -> Sequence[Question]:
        """The questions of one kind that are asked: as many as there may be, evenly spaced over the benchmark."""
        found = benchmark.questions()
        count = min(self.questions, len(found))
        return [found[at * len(found) // count] for at in range(count)]


def judge_of(judges: Mapping[str, Judge]) -> Judge:
    """The run's judge that tells refusals and coherent answers apart by rule, or else by keywords: one that is quick and costs nothing.

    Raises:
        ConfigError: there is none.
    """
    fit = [
        judge
        for _, judge in sorted(judges.items())
        if "refused" in judge.labels and not (judge.costly or judge.needs_check or isinstance(judge, WeightedJudge))
    ]
    fit.sort(key=lambda judge: "degenerate" not in judge.labels)
    if not fit:
        raise ConfigError("a probe needs a judge that tells refusals by rule, and this run has none; type judge=[...,outcome] as well.")
    return fit[0]
