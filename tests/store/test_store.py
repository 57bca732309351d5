"""Keys, manifests, publishing and what happens when several want the same thing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ftsafety.errors import FtsafetyError, StoreError
from ftsafety.settings import Decoding, Tuning
from ftsafety.store import Store, publish
from ftsafety.store import store as store_module
from ftsafety.store.publish import publish_folder, publish_text
from ftsafety.store.secrets import refuse_secrets

RECIPE = {"stage": "egg", "minutes": 6, "salt": {"grams": 1.5, "when": ["before", "after"]}}


def write(text: str) -> Callable[[Path, Path], dict[str, Any]]:
    """A stage that writes one file."""

    def compute(folder: Path, partial: Path) -> dict[str, Any]:
        (folder / "egg.txt").write_text(text)
        return {"letters": len(text)}

    return compute


def never(folder: Path, partial: Path) -> dict[str, Any]:
    """A stage that nobody should need."""
    raise AssertionError("computed again")


def test_a_key_is_the_recipe_and_nothing_else(tmp_path: Path) -> None:
    key = Store(tmp_path / "a").key(RECIPE)
    reordered = {name: RECIPE[name] for name in reversed(RECIPE)}
    assert Store(tmp_path / "b").key(reordered) == key
    others = [{**RECIPE, "minutes": 7}, {**RECIPE, "minutes": 6.5}, {**RECIPE, "lid": None}, {**RECIPE, "salt": {"grams": 1.5, "when": ["after", "before"]}}]
    assert len({key, *[Store(tmp_path).key(other) for other in others]}) == 1 + len(others)
    assert Store(tmp_path, same_platform=True).key(RECIPE) != key


def test_what_changes_speed_only_is_in_no_recipe() -> None:
    assert Tuning(micro_batch=3, checkpoint_seconds=1.0).recipe() == Tuning().recipe()
    assert Decoding(batch=3).recipe(seed=1) == Decoding().recipe(seed=2)
    assert Decoding(temperature=0.5).recipe(seed=1) != Decoding(temperature=0.5).recipe(seed=2)


def test_a_result_is_made_once_and_says_what_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get("egg", RECIPE) is None
    made = store.make("egg", RECIPE, write("boiled"))
    again = Store(tmp_path).make("egg", RECIPE, never)
    assert (made.reused, again.reused) == (False, True)
    assert (again.digest, again.info, again.folder) == (made.digest, {"letters": 6}, tmp_path / "egg" / made.key)
    assert made.manifest["recipe"] == RECIPE and list(made.manifest["files"]) == ["egg.txt"]
    assert {"versions", "platform", "seconds"} <= made.manifest.keys()
    assert store.used == {("egg", made.key)}
    assert not list((tmp_path / "leases").iterdir()) and not list((tmp_path / "partial").iterdir())


@pytest.mark.parametrize("damage", ["other bytes", "missing"])
def test_a_changed_result_is_named_set_aside_and_made_again(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = Store(tmp_path).make("egg", RECIPE, write("boiled"))
    file = made.folder / "egg.txt"
    if damage == "missing":
        file.unlink()
    else:
        file.write_text("broken and longer")
    assert Store(tmp_path).get("egg", RECIPE) is None
    said = " ".join(capsys.readouterr().err.split())
    assert f"egg.txt {'is missing' if damage == 'missing' else 'has other bytes'}" in said and "is made again" in said
    (aside,) = (tmp_path / "damaged").iterdir()
    assert aside.name.startswith(f"egg-{made.key}-") and (aside / "manifest.json").exists()
    again = Store(tmp_path).make("egg", RECIPE, write("boiled"))
    assert not again.reused and again.digest == made.digest
    (made.folder / ".DS_Store").write_text("what others leave lying about")
    assert Store(tmp_path).make("egg", RECIPE, never).reused


def test_what_can_t_be_set_aside_is_a_sentence(tmp_path: Path) -> None:
    made = Store(tmp_path).make("egg", RECIPE, write("boiled"))
    (made.folder / "egg.txt").unlink()
    (tmp_path / "damaged").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"egg\.txt is missing.* can't be moved away .*; delete it or take another store"):
        Store(tmp_path).get("egg", RECIPE)


def test_a_digest_is_the_bytes(tmp_path: Path) -> None:
    one, same, other = (Store(tmp_path / name).make("egg", {"n": name}, write(text)) for name, text in (("a", "soft"), ("b", "soft"), ("c", "hard")))
    assert one.key != same.key and one.digest == same.digest != other.digest


def test_a_failed_stage_leaves_no_result_and_keeps_its_partial_work(tmp_path: Path) -> None:
    def half(folder: Path, partial: Path) -> dict[str, Any]:
        (partial / "yolk").write_text("done")
        raise FtsafetyError("the stove went out")

    def rest(folder: Path, partial: Path) -> dict[str, Any]:
        return {"yolk": (partial / "yolk").read_text()}

    with pytest.raises(FtsafetyError, match="stove"):
        Store(tmp_path).make("egg", RECIPE, half)
    assert not list((tmp_path / "egg").iterdir()) and not list((tmp_path / "leases").iterdir())
    assert Store(tmp_path).make("egg", RECIPE, rest).info == {"yolk": "done"}


def test_the_second_waits_for_the_first_and_adopts_its_result(tmp_path: Path) -> None:
    begun, waiting = threading.Event(), threading.Event()
    seen: list[str] = []

    def slow(folder: Path, partial: Path) -> dict[str, Any]:
        begun.set()
        assert waiting.wait(20)
        return write("first")(folder, partial)

    def wait(who: str) -> None:
        seen.append(who)
        waiting.set()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(Store(tmp_path).make, "egg", RECIPE, slow)
        assert begun.wait(20)
        second = Store(tmp_path).make("egg", RECIPE, never, wait)
    assert "process" in seen[0]
    assert (first.result().reused, second.reused) == (False, True) and second.digest == first.result().digest


def test_without_leases_one_wins_and_the_loser_adopts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "lease", lambda *_: nullcontext(True))
    together = threading.Barrier(2)

    def race(text: str) -> Any:
        def compute(folder: Path, partial: Path) -> dict[str, Any]:
            together.wait(20)
            return write(text)(folder, partial)

        return Store(tmp_path).make("egg", RECIPE, compute)

    with ThreadPoolExecutor(2) as pool:
        left, right = pool.map(race, ["left", "right"])
    assert {left.reused, right.reused} == {True, False} and left.digest == right.digest
    winner = "right" if left.reused else "left"
    assert (left.folder / "egg.txt").read_text() == (right.folder / "egg.txt").read_text() == winner
    assert [item.name for item in (tmp_path / "egg").iterdir()] == [left.key]


def test_publishing_shows_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(point: str) -> None:
        raise KeyboardInterrupt(point)

    monkeypatch.setattr(publish, "_fault", die)
    with pytest.raises(KeyboardInterrupt, match="before rename"):
        publish_folder(tmp_path / "pan" / "egg", lambda folder: None)
    with pytest.raises(KeyboardInterrupt, match=r"before rename note\.txt"):
        publish_text(tmp_path / "pan" / "note.txt", "fried")
    assert not list((tmp_path / "pan").iterdir())


@pytest.mark.parametrize("text", ["", '{"kind": "egg", "ke', "[]", "{}", "\xff"])
def test_a_damaged_manifest_is_a_sentence(tmp_path: Path, text: str) -> None:
    made = Store(tmp_path).make("egg", RECIPE, write("boiled"))
    (made.folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"manifest\.json is damaged .*; delete that folder and run the same command again\."):
        Store(tmp_path).make("egg", RECIPE, never)


def test_a_folder_without_a_manifest_is_a_sentence(tmp_path: Path) -> None:
    made = Store(tmp_path).make("egg", RECIPE, write("boiled"))
    (made.folder / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"holds no manifest\.json; delete that folder"):
        Store(tmp_path).make("egg", RECIPE, never)


@pytest.mark.parametrize("where", ["value", "key", "list"])
def test_secrets_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    secret = "sk-5f3a9c0d"
    monkeypatch.setenv("X_API_KEY", secret)
    recipe = {"value": {"judge": {"header": f"Bearer {secret}"}}, "key": {secret: 1}, "list": {"headers": ["a", [secret]]}}[where]
    with pytest.raises(FtsafetyError) as caught:
        Store(tmp_path).make("egg", recipe, never)
    assert "X_API_KEY" in str(caught.value) and secret not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_short_and_ordinary_variables_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_API_KEY", "boiled")
    monkeypatch.setenv("RECIPE_NAME", "soft boiled egg")
    refuse_secrets({"name": "soft boiled egg", "minutes": 6})


def test_manifests_are_readable_json(tmp_path: Path) -> None:
    made = Store(tmp_path).make("egg", {"name": "œuf"}, write("à la coque"))
    text = (made.folder / "manifest.json").read_text(encoding="utf-8")
    assert "œuf" in text and json.loads(text) == made.manifest
