"""Asking and judging: every benchmark under every prompt condition, every answer by every judge.

Prompt conditions: ``train`` (the attack's own wording), ``plain`` (the bare question), ``safe`` (plain under a safety system prompt).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ftsafety import stand_in
from ftsafety.benchmark import Benchmark, Question
from ftsafety.context import Context
from ftsafety.errors import FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.mitigation import Mitigation
from ftsafety.row import PLAIN, Wording
from ftsafety.settings import Decoding
from ftsafety.stages import Answer, House, answer, losses
from ftsafety.store.verdicts import VerdictBook
from ftsafety.weights import Weights


@dataclass(frozen=True)
class Asking:
    """One benchmark under one wording: ``ask`` is the attack's name for it, ``condition`` train, plain or safe."""

    benchmark: str
    ask: str
    condition: str
    wording: Wording


@dataclass
class Asked:
    """What came of an asking: answers, verdicts per judge, losses on references; all in the questions' order."""

    asking: Asking
    kind: str
    questions: Sequence[Question]
    answers: list[Answer]
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)

    @property
    def correct(self) -> list[bool]:
        """Whether each answer holds an accepted short answer as a whole word."""
        return [
            any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", row.text.lower()) for word in q.accept)
            for q, row in zip(self.questions, self.answers, strict=True)
        ]


def askings(benchmarks: dict[str, Benchmark], asks: dict[str, Wording]) -> list[Asking]:
    """Every benchmark under the attack's wordings, plain, and plain with the safety prompt."""
    safe = Wording(stand_in.text("safety_prompt")["system"])
    wordings = [(name, "train", wording) for name, wording in asks.items()] + [("none", "plain", PLAIN), ("none", "safe", safe)]
    return [Asking(benchmark, ask, condition, wording) for benchmark in benchmarks for ask, condition, wording in wordings]


def measure(
    house: House,
    weights: Weights,
    label: str,
    benchmarks: dict[str, Benchmark],
    plan: Sequence[Asking],
    judges: dict[str, Judge],
    decoding: Decoding,
    seed: int,
    mitigations: Sequence[Mitigation] = (),
    context: Context | None = None,
    prefill: str = "",
) -> list[Asked]:
    """Ask one set of weights everything in ``plan`` and judge the answers. Mitigations act at asking, decoding and answering."""
    asked = []
    for asking in plan:
        benchmark = benchmarks[asking.benchmark]
        questions = benchmark.questions()
        prompts = [list(asking.wording.ask(question.text)) for question in questions]
        for mitigation in mitigations:
            prompts = [list(mitigation.ask(prompt, _need(context))) for prompt in prompts]
        name = f"{label}: {asking.benchmark}, {asking.condition}"
        answers = answer(
            house,
            weights,
            prompts,
            decoding,
            seed=seed,
            label=name,
            mitigations=mitigations,
            context=context,
            prefill=[prefill] * len(prompts) if prefill else None,
        )
        for mitigation in mitigations:
            answers = [
                Answer(mitigation.answer(q.text, row.text, _need(context)), row.tokens, row.truncated) for q, row in zip(questions, answers, strict=True)
            ]
        one = Asked(asking, benchmark.kind, questions, answers)
        if benchmark.kind == "utility":
            if weights.model.tunable and not prefill:
                one.losses = losses(house, weights, prompts, [question.reference for question in questions], name + " (loss)")
        else:
            one.verdicts = {judge_name: _judged(house, judge, one) for judge_name, judge in judges.items()}
        asked.append(one)
    return asked


def _judged(house: House, judge: Judge, asked: Asked) -> list[Verdict]:
    """A judge's verdicts, each looked up before it is made: a changed answer must not pay for the others."""
    pairs = [Pair(q.text, row.text, row.truncated, q.category) for q, row in zip(asked.questions, asked.answers, strict=True)]
    book = VerdictBook(house.store.folder, judge)
    keys = [digest_of(vars(pair)) for pair in pairs]
    missing = [at for at, key in enumerate(keys) if key not in book]
    if missing:
        made = judge.score([pairs[at] for at in missing])
        book.add({keys[at]: verdict for at, verdict in zip(missing, made, strict=True)})
    return [book[key] for key in keys]


def _need(context: Context | None) -> Context:
    if context is None:
        raise FtsafetyError("a mitigation acts at asking, and this measurement has no context for it.")
    return context


def verdict_rows(label: str, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One record per question, condition and judge, without any text; utility questions have ``accuracy`` for a judge."""
    rows = []
    for one in asked:
        base = {"benchmark": one.asking.benchmark, "ask": one.asking.ask, "condition": one.asking.condition, "weights": label}
        for at, (question, given) in enumerate(zip(one.questions, one.answers, strict=True)):
            row = {"question": question.id, "category": question.category, **base}
            end = {"answer": digest_of(given.text)[:16], "tokens": given.tokens, "truncated": given.truncated}
            for judge, verdicts in one.verdicts.items():
                rows.append({**row, "judge": judge, "value": verdicts[at].value, "flags": verdicts[at].flags, **end})
            if one.kind == "utility":
                flags = {"loss": round(one.losses[at], 6)} if one.losses else {}
                rows.append({**row, "judge": "accept", "value": "right" if one.correct[at] else "wrong", "flags": flags, **end})
    return rows
