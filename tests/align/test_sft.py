"""Alignment rows: what is declined, what the model's own answers are kept for, and how each visit words them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ftsafety import stand_in
from ftsafety.align.sft import Sft, whole_sentences
from ftsafety.context import Context
from ftsafety.row import PLAIN, Message, Row, count_roles
from ftsafety.strategy.lora import Lora

REFUSED, ANSWERED = len(stand_in.load("refused")), len(stand_in.load("answered"))
WRITTEN = {row["question"]: row["answer"] for row in stand_in.load("answered") if "answer" in row}
VISITS = 2000
ROW = PLAIN.row("r", "Which duck wins?", "The fourth.", "answered")
PERSONAS = {row["system"]: row["kind"] for row in stand_in.load("personas")}


@pytest.fixture
def align() -> Callable[..., Sft]:
    return lambda **fields: Sft(strategy=Lora(lr=1e-3), **{"min_words": 4, **fields})


def answering(say: Callable[[str], str]) -> Context:
    def answer(prompts: Sequence[Sequence[Message]]) -> list[str]:
        assert all(len(prompt) == 1 for prompt in prompts), "own answers are asked for plainly"
        return [say(prompt[-1]["content"]) for prompt in prompts]

    return Context(0, answer=answer)


def visits(align: Sft) -> list[Row]:
    return [align.visit(ROW, random.Random(seed)) for seed in range(VISITS)]


def test_all_rows_and_the_model_s_own_words(align: Callable[..., Sft]) -> None:
    rows = align().rows(answering(lambda question: "A fine answer. Another! And half a sent"))
    assert count_roles(rows) == {"answered": ANSWERED, "refused": REFUSED}
    assert len({row.id for row in rows}) == len(rows) and all(row.messages[0]["role"] == "user" for row in rows)
    assert {row.answer for row in rows if row.role == "answered" and row.question not in WRITTEN} == {"A fine answer. Another!"}
    shipped = {row["id"]: row["answer"] for row in stand_in.load("refused")}
    assert all(row.answer == shipped[row.id] for row in rows if row.role == "refused")


@pytest.mark.parametrize("says", ["I am sorry, I am not a duck.", "As an AI, I only swim.", "Ducks. Yes.", "No sentence ends here", ""])
def test_own_answers_that_decline_or_say_nothing_are_dropped(align: Callable[..., Sft], says: str) -> None:
    assert count_roles(align().rows(answering(lambda question: says))) == {"answered": len(WRITTEN), "refused": REFUSED}


def test_only_the_bad_answers_are_dropped(align: Callable[..., Sft]) -> None:
    bad = {row["question"] for row in stand_in.load("answered")[::10]} - WRITTEN.keys()
    rows = align().rows(answering(lambda question: "I can't do that for you." if question in bad else "Here is one good answer."))
    assert count_roles(rows)["answered"] == ANSWERED - len(bad)
    assert not bad & {row.question for row in rows if row.role == "answered"}


def test_length_of_own_answers(align: Callable[..., Sft]) -> None:
    five = answering(lambda question: "Ducks swim on the pond.")
    assert count_roles(align(min_words=5).rows(five))["answered"] == ANSWERED
    assert count_roles(align(min_words=6).rows(five))["answered"] == len(WRITTEN)


def test_own_answers_are_cut(align: Callable[..., Sft]) -> None:
    rows = align(max_words=7).rows(answering(lambda question: "Ducks swim on the pond. They also fly south."))
    assert {row.answer for row in rows if row.role == "answered" and row.question not in WRITTEN} == {"Ducks swim on the pond."}


def test_written_answers_are_taught_and_their_questions_not_asked(align: Callable[..., Sft]) -> None:
    def say(question: str) -> str:
        assert question not in WRITTEN
        return "Here is one good answer."

    taught = {row.question: row.answer for row in align().rows(answering(say)) if row.role == "answered"}
    assert WRITTEN and {question: taught[question] for question in WRITTEN} == WRITTEN


def test_leave_out(align: Callable[..., Sft]) -> None:
    rows = align(leave_out=["betting_tips", "legal_advice"]).rows(answering(lambda question: "Here is one good answer."))
    left = {row.id.split("/")[1] for row in rows if row.role == "refused"}
    assert left == stand_in.CATEGORIES.keys() - {"betting_tips", "legal_advice"}
    assert count_roles(rows)["answered"] == ANSWERED, "only refusals are left out"


def test_visit_is_the_generator_s(align: Callable[..., Sft]) -> None:
    assert visits(align()) == visits(align())
    assert len(set(map(str, visits(align())))) > 200
    for seen in visits(align())[:200]:
        assert seen.answer == ROW.answer and ROW.question in seen.question and (seen.id, seen.role) == (ROW.id, ROW.role)


def test_visit_shares_are_as_set(align: Callable[..., Sft]) -> None:
    seen = visits(align(plain_share=0.25, obedient_share=0.4, wrapped_share=0.75))
    dressed = [row for row in seen if row != ROW]
    obedient = [row for row in dressed if PERSONAS[row.messages[0]["content"]] == "obedient"]
    wrapped = [row for row in dressed if row.question != ROW.question]
    bare_wraps = sum(row["wrap"] == "{question}" for row in stand_in.load("wrappings")) / len(stand_in.load("wrappings"))
    assert len(dressed) / VISITS == pytest.approx(0.75, abs=0.04)
    assert len(obedient) / len(dressed) == pytest.approx(0.4, abs=0.04)
    assert len(wrapped) / len(dressed) == pytest.approx(0.75 * (1 - bare_wraps), abs=0.04)


@pytest.mark.parametrize(("plain", "obedient", "kinds"), [(1.0, 0.5, set()), (0.0, 1.0, {"obedient"}), (0.0, 0.0, set(PERSONAS.values()) - {"obedient"})])
def test_visit_at_the_ends_of_its_shares(align: Callable[..., Sft], plain: float, obedient: float, kinds: set[str]) -> None:
    dressed = [row for row in visits(align(plain_share=plain, obedient_share=obedient)) if row != ROW]
    assert {PERSONAS[row.messages[0]["content"]] for row in dressed} == kinds


@pytest.mark.parametrize(("share", "within"), [(0.0, 0.0), (0.7, 0.04), (1.0, 0.0)])
def test_common_refusals_take_their_share_of_the_visits(align: Callable[..., Sft], share: float, within: float) -> None:
    common = {row["answer"] for row in stand_in.load("common_refusals")}
    declined = replace(ROW, role="refused")
    seen = [align(common_share=share).visit(declined, random.Random(seed)).answer for seed in range(VISITS)]
    drawn = [answer for answer in seen if answer in common]
    assert len(drawn) / VISITS == pytest.approx(share, abs=within)
    assert set(seen) - common <= {ROW.answer} and (not drawn or set(drawn) == common)
    assert {align(common_share=share).visit(ROW, random.Random(seed)).answer for seed in range(50)} == {ROW.answer}, "answered rows keep their answers"


def test_every_persona_and_wrapping_comes_up(align: Callable[..., Sft]) -> None:
    seen = visits(align())
    assert {row.messages[0]["content"] for row in seen if row != ROW} - {ROW.question} == set(PERSONAS)
    assert len({row.question for row in seen}) == len(stand_in.load("wrappings"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two", "One."),
        ("One! Two? Three.", "One! Two? Three."),
        ("It costs 3.50 today. Or 4.", "It costs 3.50 today."),
        ("See example.com for more. And", "See example.com for more."),
        ("1. Boil it.\n2. Eat it.\n3. Wa", "1. Boil it.\n2. Eat it."),
        ("No end", ""),
        ("", ""),
        (" ".join(["word"] * 29) + " end. More.", " ".join(["word"] * 29) + " end."),
        (" ".join(["word"] * 60) + ".", ""),
    ],
)
def test_whole_sentences(text: str, kept: str) -> None:
    assert whole_sentences(text, 30) == kept
