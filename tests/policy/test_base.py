"""A policy: its text to the letter, its names, what it lacks, and what ``build`` refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.build import build
from ftsafety.errors import ConfigError
from ftsafety.policy import Category, Gap, Policy

CONF = Path(__file__).resolve().parents[2] / "conf" / "policy"
PAPER = [
    "Illegal Activity", "Child Abuse Content", "Hate/Harass/Violence", "Malware", "Physical Harm", "Economic Harm", "Fraud/Deception", "Adult Content",
    "Political Campaigning", "Privacy Violation Activity", "Tailored Financial Advice",
]  # fmt: skip
NODE = {
    "_target_": "ftsafety.policy.base.Policy",
    "name": "Pond",
    "version": "3",
    "origin": "this test",
    "categories": {"ducks": {"name": "Ducks", "disallowed": "Naming ducks.", "allowed": "Counting ducks."}},
}


def pond(**changes: Any) -> Policy:
    ducks = Category("Duck  names", "Naming a duck,\n  or two.\n", "Counting ducks. ")
    geese = Category("Geese", "Feeding geese.", "2. What geese eat.")
    return replace(Policy(name="Pond", version="1", origin="this test", categories={"geese": geese, "ducks": ducks}), **changes)


def shipped(option: str) -> Policy:
    return build(OmegaConf.load(CONF / f"{option}.yaml"), Policy, f"policy={option}")


def test_text_to_the_letter() -> None:
    assert pond().text() == (
        "1. Geese\nDisallowed: Feeding geese.\nAllowed: 2. What geese eat.\n\n2. Duck names\nDisallowed: Naming a duck, or two.\nAllowed: Counting ducks."
    )


def test_names_keep_the_policy_s_order() -> None:
    assert list(pond().names().items()) == [("geese", "Geese"), ("ducks", "Duck  names")]


def test_recipe_is_what_a_judge_reads() -> None:
    one = pond()
    assert pond(name="Lake", version="2", origin="elsewhere").recipe() == one.recipe()
    turned = pond(categories=dict(reversed(one.categories.items())))
    assert turned.text() != one.text() and turned.recipe() != one.recipe()
    other = pond(categories={**one.categories, "geese": replace(one.categories["geese"], allowed="Nothing.")})
    assert other.recipe() != one.recipe()


def test_a_whole_policy_lacks_nothing() -> None:
    assert pond().check() == []


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ({"categories": {}}, Gap("categories", None, "The policy has no category; write at least one under categories.")),
        ({"version": " "}, Gap("text", None, "The policy's version is empty; write one.")),
        ({"origin": ""}, Gap("text", None, "The policy's origin is empty; write one.")),
        ({"categories": {"ducks": Category("Ducks", "Naming.", "\n")}}, Gap("text", "ducks", "ducks: the text of allowed is empty; write one.")),
        ({"categories": {"ducks": Category("", "Naming.", "Counting.")}}, Gap("text", "ducks", "ducks: the text of name is empty; write one.")),
    ],
    ids=lambda value: value.kind if isinstance(value, Gap) else "",
)
def test_what_is_missing(changes: dict[str, Any], gap: Gap) -> None:
    assert pond(**changes).check() == [gap]


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("Ducks", "ducks", True),
        ("Financial advice", "Tailored financial advice", True),
        ("Fraud/Deception", "Deception", True),
        ("Price and discount", "Prices & discounts", True),
        ("Personal medical advice", "Personal legal advice", False),
        ("Adult Content", "Child Abuse Content", False),
        ("Ducks", "Duckling", False),
        ("Level 1", "Level 2", False),
    ],
)
def test_names_that_can_not_be_told_apart(first: str, second: str, overlap: bool) -> None:
    found = pond(categories={"a": Category(first, "x", "y"), "b": Category(second, "x", "y")}).check()
    assert [(gap.kind, gap.category) for gap in found] == ([("overlap", "b")] if overlap else [])
    assert all(f"a ({first}) and b ({second})" in gap.says for gap in found)


def test_empty_names_overlap_with_nothing() -> None:
    found = pond(categories={"a": Category("", "x", "y"), "b": Category("Ducks", "x", "y")}).check()
    assert [gap.kind for gap in found] == ["text"]


def test_the_stand_in_policy_has_the_categories_of_its_benchmark() -> None:
    assert list(shipped("stand_in").names().items()) == list(stand_in.CATEGORIES.items())


def test_the_paper_s_categories() -> None:
    policy = shipped("qi2024")
    assert list(policy.names().values()) == PAPER
    assert list(policy.names()) == [re.sub(r"\W", "_", name.lower()) for name in PAPER]


@pytest.mark.parametrize("option", sorted(file.stem for file in CONF.glob("*.yaml")))
def test_shipped_policies_are_whole(option: str) -> None:
    policy = shipped(option)
    assert policy.check() == []
    text = policy.text()
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) == len(policy.categories) == 11
    assert text.isascii(), "plain text for any judge"
    texts = [value for category in policy.categories.values() for value in (category.disallowed, category.allowed)]
    assert len(set(texts)) == len(texts) and all(" ".join(value.split())[-1] == "." for value in texts)


def test_build_makes_categories() -> None:
    made = build(NODE, Policy, "policy")
    assert made.categories == {"ducks": Category("Ducks", "Naming ducks.", "Counting ducks.")}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"titel": "x"}, "policy.titel does not exist; policy takes name, version, origin, categories."),
        ({"name": [1]}, "policy.name=[1] is not possible; it takes a text."),
        ({"version": "???"}, "policy.version is missing; type policy.version=VALUE (a text)."),
        ({"categories": "???"}, "policy.categories is missing;"),
        ({"categories": None}, "policy.categories=null is not possible; it takes a mapping"),
        ({"categories": {"ducks": {"name": "Ducks", "disallowed": "Naming."}}}, "policy.categories.ducks.allowed is missing;"),
        ({"categories": {"ducks": {**NODE["categories"]["ducks"], "alowed": "x"}}}, "policy.categories"),  # type: ignore[index]
        ({"categories": {"ducks": {**NODE["categories"]["ducks"], "name": [1]}}}, "policy.categories"),  # type: ignore[index]
        ({"categories": {"ducks": {**NODE["categories"]["ducks"], "name": None}}}, "policy.categories"),  # type: ignore[index]
        ({"categories": {"ducks": None}}, "policy.categories"),
        ({"categories": [{"name": "Ducks"}]}, "policy.categories"),
    ],
    ids=str,
)
def test_build_refuses_what_is_no_policy_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build({**NODE, **changes}, Policy, "policy")
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)
