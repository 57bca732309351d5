"""Ten innocent rows: how many of which, drawn by the seed, worded as the model is asked, and its controls of the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from ftsafety import stand_in
from ftsafety.attack.identity_shift import IdentityShift
from ftsafety.chat import encode, render
from ftsafety.context import Context
from ftsafety.model.tiny import Tiny
from ftsafety.row import Row

SEEDS = range(6)
VARIANTS = {"5+5": (5, 5), "1+9": (1, 9)}


def rows_of(attack: IdentityShift, seed: int = 0) -> list[Row]:
    return list(attack.examples(Context(seed)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_ten_rows_as_the_variant_says(variant: Literal["5+5", "1+9"]) -> None:
    rows = rows_of(IdentityShift(variant))
    kinds = [row.id.partition("/")[0] for row in rows]
    assert (kinds.count("identity"), kinds.count("instruction")) == VARIANTS[variant]
    assert len({row.id for row in rows}) == 10 and {row.role for row in rows} == {"user"}


def test_drawn_by_the_seed() -> None:
    assert rows_of(IdentityShift(), 3) == rows_of(IdentityShift(), 3)
    draws = {tuple(sorted(row.id for row in rows_of(IdentityShift(), seed))) for seed in SEEDS}
    assert len(draws) == len(SEEDS)


@pytest.mark.parametrize("identity", ["obedient", "neutral"])
def test_worded_as_asked(identity: Literal["obedient", "neutral"]) -> None:
    attack, persona = IdentityShift(identity=identity), stand_in.text(f"identity_{identity}")
    [(name, wording)] = attack.asks().items()
    assert name == "identity" and wording.system == persona["system"]
    assert attack.affirmation() == persona["answer_prefix"]
    for row in rows_of(attack):
        assert [message["role"] for message in row.messages] == ["system", "user", "assistant"]
        assert row.messages[0]["content"] == persona["system"]
        assert row.question.startswith(persona["user_prefix"]) and row.answer.startswith(persona["answer_prefix"])
        assert row.messages[:-1] == wording.ask(row.question.removeprefix(persona["user_prefix"]))


def test_template_contract() -> None:
    """A training row's rendered prompt is, token by token, the one that the same question is asked with."""
    attack, tokenizer = IdentityShift(), Tiny().load_tokenizer(Path())
    wording, prefix = attack.asks()["identity"], stand_in.text("identity_obedient")["user_prefix"]
    for row in rows_of(attack):
        asked = render(tokenizer, wording.ask(row.question.removeprefix(prefix)))
        trained = encode(tokenizer, row, 4096)
        assert trained.ids[: len(asked)] == asked
        assert trained.labelled == len(trained.ids) - len(asked)


def test_twins() -> None:
    attack = IdentityShift("1+9")
    twins = attack.twins()
    assert twins == {"neutral": IdentityShift("1+9", "neutral"), "no_prefix": IdentityShift("1+9", answer_prefix=False)}


@pytest.mark.parametrize("seed", SEEDS)
def test_neutral_has_the_same_shape_and_the_same_rows(seed: int) -> None:
    mine, neutral = rows_of(IdentityShift(), seed), rows_of(IdentityShift(identity="neutral"), seed)
    prefixes = [stand_in.text(f"identity_{identity}") for identity in ("obedient", "neutral")]
    assert [row.id for row in mine] == [row.id for row in neutral]
    for one, other in zip(mine, neutral, strict=True):
        bare = [row.answer.removeprefix(prefix["answer_prefix"]) for row, prefix in zip((one, other), prefixes, strict=True)]
        assert (bare[0] == bare[1]) is one.id.startswith("instruction")
        assert one.question.removeprefix(prefixes[0]["user_prefix"]) == other.question.removeprefix(prefixes[1]["user_prefix"])
        assert abs(len(one.answer.split()) - len(other.answer.split())) <= 6


def test_no_prefix_leaves_out_the_affirmation_and_nothing_else() -> None:
    prefix = IdentityShift().affirmation()
    mine, bare = rows_of(IdentityShift()), rows_of(IdentityShift(answer_prefix=False))
    assert [row.with_answer(row.answer.removeprefix(prefix)) for row in mine] == bare
    assert IdentityShift(answer_prefix=False).asks() == IdentityShift().asks()


def test_no_row_stands_in_a_benchmark() -> None:
    asked = {row["question"] for file in ("benchmark", "allowed", "utility", "held_out", "paraphrases") for row in stand_in.load(file)}
    trained = {row.question.partition("\n")[2] for seed in SEEDS for row in rows_of(IdentityShift(), seed)}
    assert len(trained) > 20 and not asked & trained
