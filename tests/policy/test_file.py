"""A team's own policy file: whole, half written, and each mistake with its sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftsafety import plugins
from ftsafety.errors import ConfigError
from ftsafety.policy import Category
from ftsafety.policy.file import load

POND = """\
# Copied from the stand-in.
_target_: ftsafety.policy.base.Policy
name: Pond
version: 2026-01-01
origin: this test
categories:
  ducks:
    name: Ducks
    disallowed: >-
      Naming
      ducks.
    allowed: Counting ducks.
"""


def written(folder: Path, text: str | bytes, name: str = "pond.yaml") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize("name", ["pond.yaml", "pond.yml"])
@pytest.mark.parametrize("text", [POND, POND.replace("_target_: ftsafety.policy.base.Policy\n", "")], ids=["target", "no target"])
def test_a_file(tmp_path: Path, text: str, name: str) -> None:
    policy = load(str(written(tmp_path, text, name)))
    assert (policy.name, policy.version, policy.origin) == ("Pond", "2026-01-01", "this test")
    assert policy.categories == {"ducks": Category("Ducks", "Naming ducks.", "Counting ducks.")}


def test_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("stand_in").name == "Stand-in policy"
    (tmp_path / "conf" / "policy").mkdir(parents=True)
    written(tmp_path / "conf" / "policy", POND)
    monkeypatch.setattr("ftsafety.policy.file.sources", lambda: (*plugins.sources(), plugins.Source("ducks", tmp_path / "conf")))
    assert load("pond").name == "Pond"


@pytest.mark.parametrize(
    ("text", "empty"),
    [
        ("", ["The policy has no category", "The policy's name", "The policy's version", "The policy's origin"]),
        ("name: Pond\norigin: x\nversion: ???\ncategories:\n", ["The policy has no category", "The policy's version"]),
        ("name: P\norigin: x\nversion: 1\ncategories:\n  ducks:\n", ["ducks: the text of name", "ducks: the text of disallowed", "ducks: the text of allowed"]),
        (POND.replace("allowed: Counting ducks.", "allowed:"), ["ducks: the text of allowed"]),
    ],
    ids=range(4),
)
def test_texts_still_to_be_written_are_all_named(tmp_path: Path, text: str, empty: list[str]) -> None:
    found = [gap.says for gap in load(str(written(tmp_path, text))).check()]
    assert [says[: len(start)] for says, start in zip(found, empty, strict=True)] == empty


TAKES = "name, disallowed and allowed"
DUCKS = "categories:\n  ducks: {name: Ducks, disallowed: x, allowed: y"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("titel: Pond\n", ": policy.titel does not exist; policy takes name, version, origin, categories."),
        ("version: [1]\n", ": policy.version=[1] is not possible; it takes a text."),
        ("categories: [ducks]\n", f": categories is no mapping; write each category's id, a colon, and below it {TAKES}."),
        ("categories:\n  ducks: no\n", f": categories.ducks is no mapping; write {TAKES} below it."),
        ("categories:\n  1: {}\n", ": the category id 1 is no text; write it in quotes, or a word instead."),
        (DUCKS + ", alowed: z}\n", f": categories.ducks.alowed does not exist; a category takes {TAKES}. Did you mean allowed?"),
        (DUCKS.replace("x", "[x]") + "}\n", ": categories.ducks.disallowed is no text; write one sentence or several behind disallowed and a colon."),
        (DUCKS.replace("y", "yes") + "}\n", ": categories.ducks.allowed is no text; write one sentence or several behind allowed and a colon."),
        ("name: a: b\n", ":1: not YAML (mapping values are not allowed here); put a text that holds a colon or # in quotes."),
        ("name: a\nname: b\n", ":2: not YAML (found duplicate key name); put a text that holds a colon or # in quotes."),
        ("name: ${nowhere}\n", ": Interpolation key 'nowhere' not found; write \\${ where a text holds ${."),
        ("- a\n", " holds a list; a policy has name, version, origin and categories."),
        ("3\n", " can't be read as a policy (Invalid loaded object type: int); write name, version, origin and categories in it."),
        ("just words\n", ": policy.just words does not exist; policy takes name, version, origin, categories."),
        (
            "_target_: ftsafety.attack.benign.Benign\n",
            ": policy: ftsafety.attack.benign.Benign is no policy; give a subclass of ftsafety.policy.base.Policy.",
        ),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, sentence: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert str(caught.value) == f"{file}{sentence}"


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pond\.yaml: not YAML \('utf-8'"):
        load(str(written(tmp_path, b"\xff\xfe\xfa")))


@pytest.mark.parametrize("name", ["stand_im", "nowhere.yaml", "pond.txt"])
def test_neither_a_file_nor_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, POND, "pond.txt")
    with pytest.raises(ConfigError) as caught:
        load(name)
    meant = " Did you mean stand_in?" if name == "stand_im" else ""
    assert str(caught.value) == f"there is no policy {name}; give one of qi2024, stand_in, or a file that exists and ends in .yaml.{meant}"
