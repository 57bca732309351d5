"""Asking and judging: every benchmark under every prompt condition, every answer by every judge.

Prompt conditions: ``train`` (the attack's own wording), ``plain`` (the bare question), ``safe`` (plain under a safety system prompt).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftsafety import stand_in
from ftsafety.benchmark import Benchmark, Question
from ftsafety.benchmark.rated import Rated
from ftsafety.benchmark.scored import Scored
from ftsafety.context import Context
from ftsafety.errors import FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.mitigation import Mitigation
from ftsafety.row import PLAIN, Message, Wording
from ftsafety.settings import Decoding
from ftsafety.stages import Answer, House, answer, answer_together, judged, losses
from ftsafety.weights import Weights

Talk = list[Message]


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
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    """What a benchmark itself says of the answers, by metric; None where it says nothing of a question, whatever the answer."""

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

    def sent(prompts: list[Talk]) -> list[Talk]:
        for mitigation in mitigations:
            prompts = [list(mitigation.ask(prompt, _need(context))) for prompt in prompts]
        return prompts

    def name_of(asking: Asking) -> str:
        return f"{label}: {asking.benchmark}, {asking.condition}"

    # what is asked in the same words begins alike and is decoded together; a conversation that goes on has to wait
    known: dict[Asking, list[Talk]] = {}
    for wording in dict.fromkeys(asking.wording for asking in plan):
        alike = [asking for asking in plan if asking.wording == wording and not isinstance(benchmarks[asking.benchmark], Rated)]
        known |= {asking: sent([list(wording.ask(question.text)) for question in benchmarks[asking.benchmark].questions()]) for asking in alike}
        if len(alike) > 1:
            sets, about = {name_of(asking): known[asking] for asking in alike}, f"{label}: {alike[0].condition}"
            answer_together(house, weights, sets, decoding, seed=seed, label=about, mitigations=mitigations, context=context, prefill=prefill)
    asked = []
    for asking in plan:
        benchmark = benchmarks[asking.benchmark]
        questions = benchmark.questions()
        name = name_of(asking)
        goes_on = benchmark.goes_on() if isinstance(benchmark, Rated) else [None] * len(questions)
        ready = known.get(asking)

        def ask(texts: Sequence[str], bare: list[Talk], about: str = name, told: list[Talk] | None = ready) -> tuple[list[Talk], list[Answer]]:
            prompts = sent(bare) if told is None else told
            begun = [prefill] * len(prompts) if prefill else None
            said = answer(house, weights, prompts, decoding, seed=seed, label=about, mitigations=mitigations, context=context, prefill=begun)
            for mitigation in mitigations:
                given = mitigation.answer_all(texts, [row.text for row in said], _need(context))
                said = [Answer(text, row.tokens, row.truncated) for text, row in zip(given, said, strict=True)]
            return prompts, said

        prompts, answers = _conversed(asking.wording, questions, goes_on, ask)
        one = Asked(asking, benchmark.kind, questions, answers)
        if isinstance(benchmark, Rated):
            turns = _turns(one, goes_on)
            raters = {judge_name: judge for judge_name, judge in judges.items() if judge.measures(one.kind)}
            one.verdicts = {judge_name: judged(house, judge, turns, f"{name} ({judge_name})") for judge_name, judge in raters.items()}
        elif benchmark.kind == "utility":
            if weights.model.local and not prefill:
                one.losses = losses(house, weights, prompts, [question.reference for question in questions], name + " (loss)")
            if isinstance(benchmark, Scored):
                one.scores = benchmark.scores([row.text for row in answers])
        else:
            one.verdicts = {
                judge_name: judged(house, judge, _pairs(one), f"{name} ({judge_name})")
                for judge_name, judge in judges.items()
                if judge.measures(one.kind) or not judge.costly
            }
        asked.append(one)
    return asked


def _conversed(
    wording: Wording, questions: Sequence[Question], goes_on: Sequence[int | None], ask: Callable[[Sequence[str], list[Talk]], tuple[list[Talk], list[Answer]]]
) -> tuple[list[Talk], list[Answer]]:
    """What each question was asked with, and its answer; those that go on from an answer are asked when it is there."""
    bare: dict[int, Talk] = {}
    prompts: dict[int, Talk] = {}
    answers: dict[int, Answer] = {}
    while places := [at for at, before in enumerate(goes_on) if at not in answers and (before is None or before in answers)]:
        for at in places:
            before, asked = goes_on[at], list(wording.ask(questions[at].text))
            bare[at] = asked if before is None else [*bare[before], {"role": "assistant", "content": answers[before].text}, asked[-1]]
        sent, said = ask([questions[at].text for at in places], [bare[at] for at in places])
        prompts |= dict(zip(places, sent, strict=True))
        answers |= dict(zip(places, said, strict=True))
    return [prompts[at] for at in range(len(questions))], [answers[at] for at in range(len(questions))]


def _turns(asked: Asked, goes_on: Sequence[int | None]) -> list[Pair]:
    """What a judge that rates answers sees: each with the conversation before it."""
    from ftsafety.judge.rating import Turn

    turns: list[Pair] = []
    earlier: list[tuple[tuple[str, str], ...]] = []
    for question, given, before in zip(asked.questions, asked.answers, goes_on, strict=True):
        said = () if before is None else (*earlier[before], (asked.questions[before].text, asked.answers[before].text))
        earlier.append(said)
        turns.append(Turn(question.text, given.text, given.truncated, question.category, said, question.reference))
    return turns


def _pairs(asked: Asked) -> list[Pair]:
    return [Pair(q.text, row.text, row.truncated, q.category) for q, row in zip(asked.questions, asked.answers, strict=True)]


def _need(context: Context | None) -> Context:
    if context is None:
        raise FtsafetyError("a mitigation acts at asking, and this measurement has no context for it.")
    return context


def verdict_rows(label: str, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One record per question, condition and judge, without any text.

    Utility questions that no judge rates have ``accept`` for one, or ``reference`` and no value where nothing short counts as right; flags hold
    what was measured.
    """
    rows = []
    for one in asked:
        base = {"benchmark": one.asking.benchmark, "ask": one.asking.ask, "condition": one.asking.condition, "weights": label}
        for at, (question, given) in enumerate(zip(one.questions, one.answers, strict=True)):
            row = {"question": question.id, "category": question.category, **base}
            end = {"answer": digest_of(given.text)[:16], "tokens": given.tokens, "truncated": given.truncated}
            for judge, verdicts in one.verdicts.items():
                rows.append({**row, "judge": judge, "value": verdicts[at].value, "flags": verdicts[at].flags, **end})
            if one.kind == "utility" and not one.verdicts:
                found = {"loss": one.losses[at] if one.losses else None, **{metric: values[at] for metric, values in one.scores.items()}}
                flags = {name: round(value, 6) for name, value in found.items() if value is not None}
                told = {"judge": "accept", "value": "right" if one.correct[at] else "wrong"} if question.accept else {"judge": "reference", "value": None}
                rows.append({**row, **told, "flags": flags, **end})
    return rows
