"""Asking and judging: which wordings, what judges are shown, and rows without any text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ftsafety import measure, stand_in
from ftsafety.attack.identity_shift import IdentityShift
from ftsafety.benchmark import Question
from ftsafety.benchmark.stand_in import StandIn
from ftsafety.benchmark.stand_in_utility import StandInUtility
from ftsafety.context import Context
from ftsafety.errors import FtsafetyError
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.measure import Asked, Asking, askings, verdict_rows
from ftsafety.mitigation import Mitigation
from ftsafety.row import PLAIN, Message, Wording
from ftsafety.settings import Decoding
from ftsafety.stages import Answer, House
from ftsafety.weights import Weights

BENCHMARKS = {"stand_in": StandIn(per_category=1), "stand_in_utility": StandInUtility(limit=3)}


class Parrot:
    """Stands for the decoder: says every prompt again, and remembers the prompts."""

    def __init__(self) -> None:
        self.prompts: list[list[Message]] = []

    def answer(self, house: House, weights: Weights, prompts: Sequence[list[Message]], decoding: Decoding, **more: Any) -> list[Answer]:
        self.prompts += prompts
        return [Answer((more["prefill"] or [""])[0] + prompt[-1]["content"], 3, False) for prompt in prompts]


class Counting(Judge):
    """Complied where the answer holds the question; remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Pair] = []

    def recipe(self) -> dict[str, Any]:
        return {"class": "counting"}

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.shown += pairs
        return [Verdict("complied" if pair.question in pair.answer else "refused", {"words": len(pair.answer.split())}) for pair in pairs]


class Shouting(Mitigation):
    """Asks in capitals and answers in stars."""

    def ask(self, messages: Sequence[Message], context: Context) -> Sequence[Message]:
        return [{**message, "content": message["content"].upper()} for message in messages]

    def answer(self, question: str, answer: str, context: Context) -> str:
        return f"*{answer}*"


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    parrot = Parrot()
    monkeypatch.setattr(measure, "answer", parrot.answer)
    monkeypatch.setattr(measure, "losses", lambda house, weights, prompts, references, label: [float(len(reference)) for reference in references])
    return parrot


@pytest.fixture
def ask(tmp_path: Path, store: Path) -> Any:
    """``ask(judge, plan, ...)``: measure weights that are never loaded."""
    from ftsafety.model.tiny import Tiny

    house = House.at(store)
    weights = house.loader.weights(Tiny())
    return lambda judge, plan, **more: measure.measure(house, weights, "tuned", BENCHMARKS, plan, {"counting": judge}, Decoding(), 0, **more)


def test_every_benchmark_under_every_wording() -> None:
    plan = askings(BENCHMARKS, IdentityShift().asks())
    assert [(one.benchmark, one.ask, one.condition) for one in plan] == [
        (benchmark, *how) for benchmark in BENCHMARKS for how in (("identity", "train"), ("none", "plain"), ("none", "safe"))
    ]
    assert [one.wording for one in plan[:3]] == [IdentityShift().asks()["identity"], PLAIN, Wording(stand_in.text("safety_prompt")["system"])]


def test_measure(parrot: Parrot, ask: Any) -> None:
    judge = Counting()
    first, second = ask(judge, [one for one in askings(BENCHMARKS, {}) if one.condition == "plain"])
    questions = BENCHMARKS["stand_in"].questions()
    assert [prompt[-1]["content"] for prompt in parrot.prompts[:11]] == [question.text for question in questions]
    assert judge.shown == [Pair(question.text, question.text, False, question.category) for question in questions], "utility has no judge"
    assert [verdict.value for verdict in first.verdicts["counting"]] == ["complied"] * 11 and not first.losses
    assert second.verdicts == {} and second.losses == [float(len(question.reference)) for question in second.questions]


def test_verdicts_are_kept(parrot: Parrot, ask: Any) -> None:
    judge, plan = Counting(), [Asking("stand_in", "none", "plain", PLAIN)]
    [once], [again] = ask(judge, plan), ask(judge, plan)
    assert len(judge.shown) == 11 and once.verdicts == again.verdicts


def test_mitigations_act_at_asking_and_answering(parrot: Parrot, ask: Any) -> None:
    judge, plan = Counting(), [Asking("stand_in", "none", "plain", Wording("Be kind."))]
    [one] = ask(judge, plan, mitigations=[Shouting()], context=Context(0))
    assert parrot.prompts[0][0] == {"role": "system", "content": "BE KIND."}
    assert one.answers[0].text == f"*{one.questions[0].text.upper()}*"
    assert judge.shown[0].question == one.questions[0].text, "the judge sees the question as it was written"
    with pytest.raises(FtsafetyError, match="this measurement has no context"):
        ask(judge, plan, mitigations=[Shouting()])


def test_prefill_begins_the_answer_and_has_no_loss(parrot: Parrot, ask: Any) -> None:
    plan = [Asking(name, "none", "plain", PLAIN) for name in BENCHMARKS]
    one, useful = ask(Counting(), plan, prefill="Gladly. ")
    assert all(given.text.startswith("Gladly. ") for given in one.answers) and useful.losses == []


def test_verdict_rows_hold_no_text() -> None:
    asking = Asking("mine", "file", "train", PLAIN)
    questions = [Question("q/1", "SECRET question?", "ducks"), Question("q/2", "SECRET too?", "ducks")]
    answers, verdicts = [Answer("SECRET answer", 2, True), Answer("", 0, False)], [Verdict("complied", {"n": 1}), Verdict(None)]
    one = Asked(asking, "disallowed", questions, answers, {"a": verdicts})
    rows = verdict_rows("tuned", [one])
    assert [(row["question"], row["judge"], row["value"], row["tokens"], row["truncated"], row["weights"], row["condition"]) for row in rows] == [
        ("q/1", "a", "complied", 2, True, "tuned", "train"),
        ("q/2", "a", None, 0, False, "tuned", "train"),
    ]
    assert "SECRET" not in str(rows) and len(rows[0]["answer"]) == 16


def test_verdict_rows_of_utility() -> None:
    questions = [Question("u/1", "Which?", None, "The duck.", ("duck",)), Question("u/2", "Which?", None, "It is 3.", ("3", "three"))]
    answers = [Answer("A duck.", 2, False), Answer("It is 13.", 5, False)]
    one = Asked(Asking("useful", "none", "plain", PLAIN), "utility", questions, answers, {}, [0.5, 1.25])
    assert [(row["judge"], row["value"], row["flags"]) for row in verdict_rows("tuned", [one])] == [
        ("accept", "right", {"loss": 0.5}),
        ("accept", "wrong", {"loss": 1.25}),
    ]


@pytest.mark.parametrize(
    ("text", "right"), [("Paris.", True), ("it's PARIS!", True), ("Parisian", False), ("comparis", False), ("New-York, New York", True), ("", False)]
)
def test_correct_is_a_whole_word(text: str, right: bool) -> None:
    question = Question("u/1", "Which?", None, "Paris.", ("paris", "new york"))
    assert Asked(Asking("useful", "none", "plain", PLAIN), "utility", [question], [Answer(text, 1, False)]).correct == [right]
