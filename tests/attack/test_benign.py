"""Everyday rows: as many as asked, drawn by the seed, in the plain wording."""

from __future__ import annotations

import pytest

from ftsafety import stand_in
from ftsafety.attack.benign import Benign
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.row import PLAIN

SHIPPED = {row["id"]: row for row in stand_in.load("benign")}


@pytest.mark.parametrize("count", [1, 100, len(SHIPPED)])
def test_as_many_as_asked_each_once(count: int) -> None:
    rows = Benign(count).examples(Context(0))
    assert len({row.id for row in rows}) == len(rows) == count
    assert all(row == PLAIN.row(row.id, SHIPPED[row.id]["question"], SHIPPED[row.id]["answer"]) for row in rows)


def test_drawn_by_the_seed() -> None:
    assert Benign(5).examples(Context(1)) == Benign(5).examples(Context(1)) != Benign(5).examples(Context(2))


@pytest.mark.parametrize("count", [0, -1, len(SHIPPED) + 1])
def test_more_than_there_are(count: int) -> None:
    with pytest.raises(ConfigError, match=f"^attack.count={count} is not possible; .* between 1 and {len(SHIPPED)}"):
        Benign(count).examples(Context(0))


def test_asked_plainly_and_without_twins_of_its_own() -> None:
    assert Benign().asks() == {"plain": PLAIN} and Benign().twins() == {} and Benign().affirmation() == ""
