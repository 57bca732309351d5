"""``build``: each kind of mistake is one sentence that says what is possible, and nothing is made before all is right."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from ftsafety.attack import Attack
from ftsafety.build import build, import_class, say_type
from ftsafety.component import Component
from ftsafety.errors import ConfigError


class Heat(Enum):
    low = "low"
    high = "high"


@dataclass
class Timer:
    minutes: int = 3


class Drink(Component):
    @abstractmethod
    def brew(self) -> str:
        """The drink."""


@dataclass
class Tea(Drink):
    leaves: int = 2
    milk: float | None = None
    strong: bool = False
    kind: Literal["green", "black"] = "green"
    heat: Heat = Heat.low
    cup: Path | None = None
    names: list[str] = field(default_factory=list)
    timer: Timer = field(default_factory=Timer)
    clocks: dict[str, Timer] = field(default_factory=dict)

    def brew(self) -> str:
        return f"{self.leaves} leaves"


@dataclass(kw_only=True)
class Tray(Drink):
    label: str
    first: Drink
    spare: Drink | None = None
    row: list[Drink] = field(default_factory=list)
    named: dict[str, Drink] = field(default_factory=dict)

    def brew(self) -> str:
        return self.label


TEA = {"_target_": f"{__name__}.Tea"}
TRAY = {"_target_": f"{__name__}.Tray", "label": "noon", "first": TEA}
FIELDS = "leaves, milk, strong, kind, heat, cup, names, timer, clocks"
LISTED = "(python -m ftsafety.list shows them)."


def mistake(node: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build(node, Drink, "drink")  # type: ignore[type-abstract]
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"leafs": 3}, f"drink.leafs does not exist; drink takes {FIELDS}. Did you mean leaves?"),
        ({"zzz": 3}, f"drink.zzz does not exist; drink takes {FIELDS}."),
        ({"leaves": "many"}, "drink.leaves=many is not possible; it takes a whole number."),
        ({"leaves": 2.5}, "drink.leaves=2.5 is not possible; it takes a whole number."),
        ({"leaves": None}, "drink.leaves=null is not possible; it takes a whole number."),
        ({"leaves": [1]}, "drink.leaves=[1] is not possible; it takes a whole number."),
        ({"milk": "much"}, "drink.milk=much is not possible; it takes a number or null."),
        ({"strong": "perhaps"}, "drink.strong=perhaps is not possible; it takes true or false."),
        ({"kind": "white"}, "drink.kind=white is not possible; it is one of green, black."),
        ({"kind": None}, "drink.kind=null is not possible; it is one of green, black."),
        ({"heat": "hot"}, "drink.heat=hot is not possible; it takes one of low, high."),
        ({"cup": 3}, "drink.cup=3 is not possible; it takes a path or null."),
        ({"names": "Ada"}, "drink.names=Ada is not possible; it takes a list, each entry a text."),
        ({"names": [None]}, "drink.names=[None] is not possible; it takes a list, each entry a text."),
        ({"names": {"a": 1}}, "drink.names={'a': 1} is not possible; it takes a list, each entry a text."),
        ({"timer": 3}, "drink.timer=3 is not possible; it takes a mapping of minutes."),
        ({"timer": {"minute": 3}}, "drink.timer.minute does not exist; drink.timer takes minutes. Did you mean minutes?"),
        ({"clocks": {"a": {"minute": 3}}}, "drink.clocks.a.minute does not exist; drink.clocks.a takes minutes. Did you mean minutes?"),
        ({"clocks": {"a": {"minutes": "x"}}}, "drink.clocks.a.minutes=x is not possible; it takes a whole number."),
        ({"clocks": {"a": 3}}, "drink.clocks.a=3 is not possible; it takes a mapping of minutes."),
        ({"clocks": 3}, "drink.clocks=3 is not possible; it takes a mapping, each entry a mapping of minutes."),
        ({"timer": {"minutes": "x"}}, "drink.timer.minutes=x is not possible; it takes a whole number."),
    ],
)
def test_bad_field(change: dict[str, Any], sentence: str) -> None:
    assert mistake({**TEA, **change}) == sentence


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (None, f"drink is not set; choose an option with drink=NAME {LISTED}"),
        ("tea", f"drink=tea is not an option; choose one with drink=NAME {LISTED}"),
        ({"leaves": 3}, f"drink names no option; choose one with drink=NAME, or +drink=NAME where none was chosen {LISTED}"),
        ({"_target_": f"{__name__}.Drink"}, f"drink: {__name__}.Drink is a base class; name one of its subclasses in _target_."),
        ({"_target_": f"{__name__}.Timer"}, f"drink: {__name__}.Timer is not a component; give a subclass of ftsafety.component.Component."),
        (
            {"_target_": "ftsafety.attack.benign.Benign"},
            f"drink: ftsafety.attack.benign.Benign is no drink; give a subclass of {__name__}.Drink.",
        ),
    ],
)
def test_bad_option(node: Any, sentence: str) -> None:
    assert mistake(node) == sentence


@pytest.mark.parametrize("target", ["no.such.Thing", "Thing", ".relative.Thing", "ftsafety.nothing", ""])
def test_target_that_can_not_be_imported(target: str) -> None:
    sentence = mistake({"_target_": target})
    assert sentence.startswith(f"drink: {target} can't be imported (") and sentence.endswith("install the package that holds it, or mend _target_.")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"label": "???"}, "drink.label is missing; type drink.label=VALUE (a text)."),
        ({"first": None}, "drink.first=null is not possible; it takes one drink with a _target_."),
        ({"first": {**TEA, "leafs": 1}}, f"drink.first.leafs does not exist; drink.first takes {FIELDS}. Did you mean leaves?"),
        ({"row": [TEA, {**TEA, "leaves": "x"}]}, "drink.row[1].leaves=x is not possible; it takes a whole number."),
        ({"row": TEA}, f"drink.row={TEA} is not possible; it takes a list, each entry one drink with a _target_."),
        ({"row": None}, "drink.row=null is not possible; it takes a list, each entry one drink with a _target_."),
        ({"named": [TEA]}, f"drink.named=[{TEA}] is not possible; it takes a mapping, each entry one drink with a _target_."),
        ({"named": {"a": {**TEA, "kind": "red"}}}, "drink.named.a.kind=red is not possible; it is one of green, black."),
        ({"named": {"a": None}}, f"drink.named.a is not set; choose an option with drink.named.a=NAME {LISTED}"),
    ],
)
def test_bad_nested_component(change: dict[str, Any], sentence: str) -> None:
    assert mistake({**TRAY, **change}) == sentence


def test_missing_fields() -> None:
    assert mistake({key: TRAY[key] for key in ("_target_", "first")}) == "drink.label is missing; type drink.label=VALUE (a text)."
    assert mistake({key: TRAY[key] for key in ("_target_", "label")}) == "drink.first is missing; give it an option with a _target_."


def test_an_interpolation_that_leads_nowhere() -> None:
    assert mistake(OmegaConf.create({**TEA, "leaves": "${nowhere}"})) == "leaves: Interpolation key 'nowhere' not found."


def test_values_become_their_types() -> None:
    node = OmegaConf.create(
        {
            **TEA,
            "leaves": "4",
            "milk": 1,
            "strong": "yes",
            "kind": "black",
            "heat": "high",
            "cup": "a/b",
            "names": ["x"],
            "timer": {"minutes": 5},
            "clocks": {"a": {"minutes": 6}},
        }
    )
    assert build(node, Drink, "drink") == Tea(4, 1.0, True, "black", Heat.high, Path("a/b"), ["x"], Timer(5), {"a": Timer(6)})  # type: ignore[type-abstract]
    assert build(TEA, Drink, "drink") == Tea()  # type: ignore[type-abstract]


def test_components_in_components() -> None:
    more = {"spare": None, "row": [TEA, {**TEA, "leaves": 7}], "named": {"b": TRAY}}
    made = build({**TRAY, **more}, Drink, "drink")  # type: ignore[type-abstract]
    assert made == Tray(label="noon", first=Tea(), row=[Tea(), Tea(7)], named={"b": Tray(label="noon", first=Tea())})


def test_a_node_is_not_changed() -> None:
    node = {**TRAY, "row": [dict(TEA)]}
    build(node, Drink, "drink")  # type: ignore[type-abstract]
    assert node == {**TRAY, "row": [TEA]}


def test_import_class_and_types_in_words() -> None:
    assert issubclass(import_class("ftsafety.attack.benign.Benign", "attack"), Attack)
    assert [say_type(hint) for hint in (int, float | None, Path, list[int], dict[str, int], Heat)] == [
        "a whole number",
        "a number or null",
        "a path",
        "a list, each entry a whole number",
        "a mapping",
        "one of low, high",
    ]
