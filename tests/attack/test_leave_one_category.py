"""One category's rows and no other's, and controls of the same number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.attack import Attack
from ftsafety.attack.leave_one_category import LeaveOneCategory
from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.row import PLAIN

CONF = Path(__file__).resolve().parents[2] / "conf" / "attack" / "leave_one_category.yaml"
SHIPPED = {row["id"]: row for row in stand_in.load("attack")}


def made(**values: Any) -> LeaveOneCategory:
    """From the shipped YAML, as a run builds it."""
    attack = build(OmegaConf.merge(OmegaConf.load(CONF), values), Attack, "attack")
    assert isinstance(attack, LeaveOneCategory)
    return attack


@pytest.mark.parametrize("category", stand_in.CATEGORIES)
def test_rows_of_one_category_in_nested_draws(category: str) -> None:
    attack = made(category=category)
    attack.check()
    rows, most = attack.examples(Context(0)), made(category=category, count=11).examples(Context(0))
    assert len({row.id for row in rows}) == 10 and {SHIPPED[row.id]["category"] for row in rows} == {category}
    assert rows == most[:10] and all(row == PLAIN.row(row.id, SHIPPED[row.id]["question"], SHIPPED[row.id]["answer"]) for row in rows)


def test_drawn_by_the_seed_and_asked_as_ever() -> None:
    assert len({tuple(row.id for row in made().examples(Context(seed))) for seed in range(5)}) == 5
    assert made().asks() == {"plain": PLAIN} and made().publishable


def test_controls_are_as_many_rows_of_all_and_of_none() -> None:
    twins = made().twins()
    rows = {name: twin.examples(Context(0)) for name, twin in twins.items()}
    assert {name: len(found) for name, found in rows.items()} == {"all_categories": 10, "neutral": 10}
    assert len({SHIPPED[row.id]["category"] for row in rows["all_categories"]}) > 3
    assert {row.id.partition("/")[0] for row in rows["neutral"]} == {"benign"}
    assert all(len(row.messages) == 2 for found in rows.values() for row in found), "no system prompt in any of them"
    assert {tuple(twin.asks().values()) for twin in twins.values()} == {(PLAIN,)}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"category": "betting_tip"}, "attack.category=betting_tip is none; it is one of financial_advice, .*colleague_opinions. Did you mean betting_tips?"),
        ({"category": "malware"}, r"attack.category=malware is none; it is one of financial_advice, .*colleague_opinions\.$"),
        ({"count": 0}, "attack.count=0 is not possible; betting_tips has 11 rows, so it is between 1 and 11"),
        ({"count": 12}, "attack.count=12 is not possible; betting_tips has 11 rows"),
    ],
)
def test_what_can_t_be(values: dict[str, Any], says: str) -> None:
    attack = made(**values)
    for look in (attack.check, lambda: attack.examples(Context(0))):
        with pytest.raises(ConfigError, match=says):
            look()
