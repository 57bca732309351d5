"""Recipes: what determines a component, by content; and its code, without what is only for readers."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from ftsafety.component import Component, code_digest, describe
from ftsafety.errors import ConfigError
from ftsafety.hashing import canonical, digest_of, digest_of_path


@dataclass
class Grain:
    size: int = 3


@dataclass
class Mill(Component):
    not_in_recipe: ClassVar[frozenset[str]] = frozenset({"threads"})

    stones: int = 2
    threads: int = 1
    sack: Path | None = None
    grain: Grain = field(default_factory=Grain)
    next: Mill | None = None
    others: dict[str, Mill] = field(default_factory=dict)
    made: int = field(default=0, init=False)


MODULE = '''
"""What it is for."""
from dataclasses import dataclass
from ftsafety.component import Component

@dataclass
class Wheel(Component):
    """Turns."""

    spokes: int = 8
    """How many."""

    def turn(self):
        return self.spokes + 1
'''


def code_of(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The code digest of the class ``Wheel`` in a module ``wheel`` with this source."""
    place = folder / digest_of(source)[:12]
    place.mkdir()
    (place / "wheel.py").write_text(source)
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "wheel", raising=False)
    return code_digest(importlib.import_module("wheel").Wheel)


def test_recipe_holds_class_code_and_fields() -> None:
    recipe = Mill(4, next=Mill(1), others={"b": Mill(5), "a": Mill(6)}).recipe()
    assert recipe["class"] == f"{__name__}.Mill" and len(recipe["code"]) == 64
    assert recipe["stones"] == 4 and recipe["next"]["stones"] == 1 and recipe["grain"] == {"size": 3}
    assert list(recipe["others"]) == ["a", "b"] and recipe["others"]["a"]["stones"] == 6
    assert canonical(recipe), "it is plain JSON data"


def test_what_never_changes_a_result_is_left_out() -> None:
    assert Mill(threads=1).recipe() == Mill(threads=8).recipe()
    assert not {"threads", "made", "not_in_recipe", "source"} & Mill().recipe().keys()
    assert Mill(stones=2).recipe() != Mill(stones=3).recipe()


def test_paths_by_content(tmp_path: Path) -> None:
    one, same, other = tmp_path / "one.txt", tmp_path / "b" / "same.txt", tmp_path / "other.txt"
    same.parent.mkdir()
    for file, text in ((one, "rye"), (same, "rye"), (other, "oat")):
        file.write_text(text)
    assert Mill(sack=one).recipe() == Mill(sack=same).recipe() != Mill(sack=other).recipe()


def test_folders_by_names_and_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x.txt").write_text("rye")
    assert digest_of_path(tmp_path / "a") == digest_of_path(tmp_path / "b")
    (tmp_path / "b" / "deep" / "x.txt").rename(tmp_path / "b" / "deep" / "y.txt")
    assert digest_of_path(tmp_path / "a") != digest_of_path(tmp_path / "b")


def test_an_edited_file_is_another_recipe(tmp_path: Path) -> None:
    file = tmp_path / "sack.txt"
    file.write_text("rye")
    before = Mill(sack=file).recipe()
    file.write_text("oat")
    os.utime(file, ns=(1, 1))
    assert Mill(sack=file).recipe() != before


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"^/no/such/sack does not exist; give a file or folder that does\.$"):
        Mill(sack=Path("/no/such/sack")).recipe()


def test_what_json_can_not_hold_is_an_error() -> None:
    for vague in (object(), float("nan"), {1, 2}):
        with pytest.raises((TypeError, ValueError)):
            canonical(describe({"value": vague}))


@pytest.mark.parametrize(
    "source",
    [
        MODULE.replace('"""What it is for."""', ""),
        MODULE.replace("Turns.", "Turns, and turns again."),
        MODULE.replace('    """How many."""\n', "    # how many\n"),
        MODULE.replace("self.spokes + 1", "(self.spokes\n                + 1)  # one more"),
        MODULE.replace("spokes: int = 8", "spokes: int=8").replace("\n\n", "\n\n\n"),
    ],
)
def test_code_digest_ignores_what_is_for_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    assert source != MODULE
    assert code_of(tmp_path, source, monkeypatch) == code_of(tmp_path, MODULE, monkeypatch)


@pytest.mark.parametrize("source", [MODULE.replace("+ 1", "+ 2"), MODULE.replace("= 8", "= 9"), MODULE + "\nSPEED = 1\n"])
def test_code_digest_changes_with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    assert code_of(tmp_path, source, monkeypatch) != code_of(tmp_path, MODULE, monkeypatch)
