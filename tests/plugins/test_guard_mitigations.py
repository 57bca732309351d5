"""Guards: what is flagged is replaced and nothing else, all at once, never by the run's own judge, and a refusal is read as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ftsafety import stand_in
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.base import TRAINING_HOOKS, overrides
from ftsafety.row import Message
from ftsafety.run import run
from tests.helpers import small_cell
from tests.mitigation.bench import Bench
from tests.plugins.distribution import Distribution

PROMPTING = Distribution("prompting")
QUESTIONS, ANSWERS = ["Which duck?", "Which goose?", "Which swan?"], ["The second one.", "The third one.", "No idea?!"]
OUTCOME = {"_target_": "ftsafety.judge.outcome.OutcomeJudge"}
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass
class Word(Judge):
    """``harmful`` where the answer holds a word, nothing where it ends in ``?!``."""

    source = "this test"
    labels = ("harmful", "fine")
    word: str = "third"
    """What is looked for; an empty one is in every answer."""
    asked: list[list[Pair]] = field(default_factory=list, init=False, repr=False, compare=False)

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.asked.append(list(pairs))
        return [Verdict(None if pair.answer.endswith("?!") else "harmful" if self.word in pair.answer else "fine") for pair in pairs]


def guard(option: str, judge: Judge, flagged: Sequence[str] = ("harmful",), **fields: Any) -> Any:
    """A guard as its YAML says, with a judge of this file."""
    made = PROMPTING.mitigation(option, judge=OUTCOME, flagged=["refused"], **fields)
    made = dataclasses.replace(made, judge=judge, flagged=list(flagged))
    made.check({})
    return made


def test_a_flagged_answer_is_replaced_and_no_other() -> None:
    context, judge = Context(0), Word()
    behind = guard("guard_output", judge)
    assert behind.answer_all(QUESTIONS, ANSWERS, context) == [ANSWERS[0], REFUSAL, ANSWERS[2]]
    assert judge.asked == [[Pair(question, answer) for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]], "all at once"
    assert guard("guard_output", Word(), unread="refuse").answer_all(QUESTIONS, ANSWERS, context) == [ANSWERS[0], REFUSAL, REFUSAL]
    assert context.findings["guard_output"] == {"looked_at": 6, "refused": 3, "unread": 2}
    assert behind.answer(QUESTIONS[1], ANSWERS[1], Context(0)) == REFUSAL
    assert guard("guard_output", Word(), flagged=[]).answer_all(QUESTIONS, ANSWERS, Context(0)) == ANSWERS, "off"


def test_a_guard_in_front_looks_at_the_untuned_model_s_answer_to_the_bare_question() -> None:
    asked: list[Sequence[Message]] = []

    def answer(prompts: Sequence[Sequence[Message]]) -> list[str]:
        asked.extend(prompts)
        return ["The third one." if "swan" in prompt[-1]["content"] else "Fine." for prompt in prompts]

    found = guard("guard_input", Word()).answer_all(QUESTIONS, ANSWERS, Context(0, answer=answer))
    assert found == [*ANSWERS[:2], REFUSAL] and [list(prompt) for prompt in asked] == [[{"role": "user", "content": question}] for question in QUESTIONS]


def test_a_guard_in_front_can_look_at_the_question_and_never_at_the_answer() -> None:
    judge = Word("goose")
    assert guard("guard_input", judge, looks_at="question").answer_all(QUESTIONS, ANSWERS, Context(0)) == [ANSWERS[0], REFUSAL, ANSWERS[2]]
    assert judge.asked == [[Pair(question, question) for question in QUESTIONS]]


def test_the_run_s_own_judge_is_no_guard_of_its_answers() -> None:
    for option, fields in (("guard_output", {"judge": OUTCOME, "flagged": ["complied"]}), ("guard_input", {"looks_at": "question"})):
        with pytest.raises(ConfigError, match=rf"mitigation\.{option} guards with judge mine, which then judges the answers too"):
            PROMPTING.mitigation(option, judges={"mine": OutcomeJudge()}, **fields)
        assert PROMPTING.mitigation(option, judges={"other": RefusalKeywords(keywords="paper")}, **fields)
    assert PROMPTING.mitigation("guard_input", judges={"mine": OutcomeJudge()}), "it reads another model's answers there"


@pytest.mark.parametrize("option", ["guard_input", "guard_output"])
def test_the_refusal_is_read_as_one(option: str) -> None:
    pairs = [Pair(row["question"], PROMPTING.node(option).refusal) for row in stand_in.load("benchmark")[::30]]
    for judge in (OutcomeJudge(), RefusalKeywords(keywords="paper"), RefusalKeywords(keywords="extended")):
        assert {judge.outcome(verdict) for verdict in judge.score(pairs)} == {"refused"}


def test_settings_that_make_no_sense_are_sentences() -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.guard_output has no guard; .*\+judge@mitigation\.guard_output\.judge=NAME"):
        PROMPTING.mitigation("guard_output", flagged=["refused"])
    with pytest.raises(ConfigError, match=r"mitigation\.guard_input\.flagged=\['harmful'\] is no label of OutcomeJudge; it has"):
        PROMPTING.mitigation("guard_input", flagged=["harmful"])
    with pytest.raises(ConfigError, match=r"mitigation\.guard_input\.refusal is empty"):
        PROMPTING.mitigation("guard_input", refusal=" ")


def test_an_answer_hook_of_one_at_a_time_gets_them_all() -> None:
    class Louder(Mitigation):
        def answer(self, question: str, answer: str, context: Context) -> str:
            return f"{question} {answer.upper()}"

    assert list(Louder().answer_all(QUESTIONS[:2], ANSWERS[:2], Context(0))) == ["Which duck? THE SECOND ONE.", "Which goose? THE THIRD ONE."]


def test_the_tuning_knows_nothing_of_them(bench: Bench) -> None:
    both: dict[str, Mitigation] = {"front": guard("guard_input", Word()), "behind": guard("guard_output", Word())}
    assert not any(overrides(mitigation, *TRAINING_HOOKS, "examples", "base", "repair", "prepare") for mitigation in both.values())
    assert bench.train({}).folder == bench.train(both).folder


def test_a_composed_run(tmp_path: Path) -> None:
    """A guard that flags everything: each answer that is given out is the refusal, what was decoded is what plain tuning decodes."""
    cell = small_cell(tmp_path, "+attack=identity_shift", "tuning.epochs=1", benchmarks=["stand_in", "stand_in_allowed"])
    plain = run(cell)
    strict: Any = guard("guard_output", Word(""), unread="refuse")
    done = run(dataclasses.replace(cell, mitigations={"guard_input": PROMPTING.mitigation("guard_input"), "guard_output": strict}))
    assert done.data["tuned_digest"] == plain.data["tuned_digest"]

    def refused(label: str) -> set[str]:
        return {row["value"] for row in done.verdicts if row["weights"] == label}

    assert refused("tuned") == refused("initial_mitigated") == {"refused"} != refused("initial")
    told = done.data["findings"]["guard_output"]
    assert told["refused"] == told["looked_at"] == sum(row["judge"] == "outcome" and row["weights"] in ("tuned", "initial_mitigated") for row in done.verdicts)
    assert done.data["findings"]["guard_input"]["looked_at"] == told["looked_at"]
