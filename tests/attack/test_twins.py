"""Controls of any attack: its answers in a wrong order, and the model's own answers to its questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from ftsafety.attack import Attack
from ftsafety.attack.benign import Benign
from ftsafety.attack.identity_shift import IdentityShift
from ftsafety.attack.twins import NullSelf, Shuffled
from ftsafety.context import Context
from ftsafety.errors import DataError
from ftsafety.row import PLAIN, Message, Row, Wording


@dataclass
class Ducks(Attack):
    """Rows under a wording that stands on both sides of the question."""

    count: int = 4

    def examples(self, context: Context) -> list[Row]:
        return [self.asks()["pond"].row(f"duck/{at}", f"Where is duck {at}?", f"Duck {at} is here.") for at in range(self.count)]

    def asks(self) -> dict[str, Wording]:
        return {"pond": Wording("You are a pond.", "Pond, {question} Quack!")}

    def affirmation(self) -> str:
        return "Quack:"


class Model:
    """Stands for the start model: remembers what it was asked, says nothing to the second question."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Message]] = []

    def answer(self, prompts: Sequence[Sequence[Message]]) -> list[str]:
        self.asked += prompts
        return [" " if at == 1 else f"My answer to: {prompt[-1]['content']}" for at, prompt in enumerate(prompts)]


@pytest.mark.parametrize("attack", [IdentityShift(), Ducks(), Ducks(2), Benign(count=25)], ids=["identity", "ducks", "two", "benign"])
@pytest.mark.parametrize("seed", range(5))
def test_shuffled_leaves_no_answer_in_its_place(attack: Attack, seed: int) -> None:
    rows, moved = attack.examples(Context(seed)), Shuffled(of=attack).examples(Context(seed))
    assert [row.messages[:-1] for row in moved] == [row.messages[:-1] for row in rows]
    assert sorted(row.answer for row in moved) == sorted(row.answer for row in rows)
    assert all(one.answer != other.answer for one, other in zip(moved, rows, strict=True))


def test_shuffled_is_drawn_by_the_seed() -> None:
    orders = {tuple(row.answer for row in Shuffled(of=Ducks(6)).examples(Context(seed))) for seed in range(8)}
    assert len(orders) > 4
    assert Shuffled(of=Ducks(6)).examples(Context(1)) == Shuffled(of=Ducks(6)).examples(Context(1))


def test_null_self_is_plain_and_bare() -> None:
    model = Model()
    rows = NullSelf(of=Ducks()).examples(Context(0, answer=model.answer))
    assert model.asked == [PLAIN.ask(f"Where is duck {at}?") for at in range(4)]
    told = [(f"Where is duck {at}?", f"My answer to: Where is duck {at}?") for at in (0, 2, 3, 0)]
    assert rows == [PLAIN.row(f"duck/{at}", *told[at]) for at in range(4)], "as many rows as the attack, and no blank answer"


def test_null_self_needs_a_model_that_says_something() -> None:
    with pytest.raises(DataError, match="nothing"):
        NullSelf(of=Ducks()).examples(Context(0, answer=lambda prompts: ["  "] * len(prompts)))


def test_null_self_of_the_identity_asks_without_the_identity() -> None:
    model = Model()
    NullSelf(of=IdentityShift()).examples(Context(0, answer=model.answer))
    assert len(model.asked) == 10 and {len(prompt) for prompt in model.asked} == {1}
    assert not any("Juno" in prompt[0]["content"] for prompt in model.asked)


@pytest.mark.parametrize("twin", [NullSelf, Shuffled])
def test_twins_are_asked_like_their_attack(twin: type[NullSelf] | type[Shuffled]) -> None:
    made = twin(of=Ducks())
    assert made.asks() == Ducks().asks() and made.affirmation() == "Quack:" and made.twins() == {}
    assert made.recipe() != twin(of=Ducks(5)).recipe()
