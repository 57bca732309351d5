"""``python -m ftsafety.store``: verify, explain and prune on a store of a few eggs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftsafety.judge import Verdict
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.store import Artifact, Store, care
from ftsafety.store.__main__ import main
from ftsafety.store.refs import read_refs, refer
from ftsafety.store.verdicts import VerdictBook, book_of

JUDGES = (RefusalKeywords(), RefusalKeywords(keywords="extended"))


def egg(store: Store, minutes: int, kind: str = "egg") -> Artifact:
    def compute(folder: Path, partial: Path) -> dict[str, Any]:
        (folder / "shell").mkdir()
        (folder / "shell" / "egg.txt").write_text(f"{minutes} minutes")
        return {}

    return store.make(kind, {"stage": kind, "minutes": minutes, "salt": {"grams": [1, 2]}}, compute)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that the commands find by themselves."""
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("FTSAFETY_STORE", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as young."""
    monkeypatch.setattr(care, "YOUNG_SECONDS", -1.0)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_a_whole_store_is_verified(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0 and "no artifact" in told(capsys)
    egg(Store(shop), 6)
    egg(Store(shop, same_platform=True), 7)
    assert main(["verify"]) == 0 and "2, all whole" in told(capsys)


def test_no_store_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--store", str(tmp_path / "nowhere")]) == 1
    assert "there is no store at" in capsys.readouterr().err


def flip(folder: Path) -> None:
    file = folder / "shell" / "egg.txt"
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)


def forge(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["recipe"]["minutes"] = 60
    (folder / "manifest.json").write_text(json.dumps(manifest))


DAMAGES = {
    "has other bytes": flip,
    "shell/egg.txt is missing": lambda folder: (folder / "shell" / "egg.txt").unlink(),
    "salt.txt does not belong to it": lambda folder: (folder / "salt.txt").write_text("salt"),
    "manifest.json is missing or can't be read": lambda folder: (folder / "manifest.json").write_text("{"),
    "its key is not that of its recipe": forge,
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_damage_is_found(shop: Path, capsys: pytest.CaptureFixture[str], reason: str) -> None:
    whole, broken = egg(Store(shop), 6), egg(Store(shop), 7)
    DAMAGES[reason](broken.folder)
    assert main(["verify", "--store", str(shop)]) == 1
    text = told(capsys)
    assert f"{broken.folder}: " in text and reason in text and "1 of 2" in text and whole.key not in text


def test_explain_says_what_differs(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = egg(Store(shop), 6)
    assert main(["explain", first.key[:10]]) == 0
    text = told(capsys)
    assert first.key in text and "salt.grams[1]" in text and "no other egg" in text
    second = egg(Store(shop), 7)
    egg(Store(shop), 6, "omelette")
    for keys in ([first.key], [first.key, second.key[:8]]):
        assert main(["explain", *keys]) == 0
        [row] = [line.split() for line in told(capsys).partition("fields differ")[2].splitlines() if "minutes" in line]
        assert row == ["minutes", "6", "7"]


def test_explain_names_a_key_that_is_not_there(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    egg(Store(shop), 6)
    for key in ("abc", "f" * 40):
        assert main(["explain", key]) == 1
        assert f"begins with {key}" in capsys.readouterr().err


def test_differing_sees_added_and_lost_fields() -> None:
    assert care.differing({"a": [1, {"b": None}], "c": "x"}, {"a": [1], "c": "x", "d": {}}) == [("a[1].b", "null", "(absent)"), ("d", "(absent)", "{}")]


def test_prune_lists_what_no_run_refers_to_and_deletes_it_when_told(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: None) -> None:
    store, run = Store(shop), tmp_path / "runs" / "boiled" / "seed=0"
    run.mkdir(parents=True)
    needed = egg(store, 6)
    refer(store, run, "0123456789ab", 0, JUDGES[:1])
    other = egg(Store(shop), 7)
    for judge in JUDGES:
        VerdictBook(shop, judge).add({"a": Verdict("refused")})
    (shop / "partial" / "egg-1234").mkdir(parents=True)
    (shop / "egg" / ".1234.abcd.new").mkdir()
    (shop / "models" / "smollm2").mkdir(parents=True)

    assert main(["prune"]) == 0
    text = told(capsys)
    assert other.key in text and "unfinished egg-1234" in text and "left over egg/.1234.abcd.new" in text and "Nothing was deleted" in text
    assert needed.key not in text and "verdicts" not in text and "smollm2" not in text
    assert other.folder.exists()

    assert main(["prune", "--delete"]) == 0 and "Deleted: 3" in told(capsys)
    assert not other.folder.exists() and not list((shop / "partial").iterdir()) and [item.name for item in (shop / "egg").iterdir()] == [needed.key]

    assert main(["prune", "--paid"]) == 0
    text = told(capsys)
    assert f"verdicts {book_of(JUDGES[1])}" in text and book_of(JUDGES[0]) not in text

    shutil.rmtree(run)
    assert main(["prune", "--delete", "--paid"]) == 0 and "Deleted: 4" in told(capsys)
    assert main(["prune", "--paid"]) == 0 and "Nothing to delete" in told(capsys)
    assert read_refs(shop) == (set(), []) and (shop / "models" / "smollm2").exists()


def test_prune_leaves_alone_what_a_run_under_way_may_need(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = egg(Store(shop), 6)
    assert main(["prune", "--delete"]) == 0
    assert "less than a day old: 1" in told(capsys) and fresh.folder.exists()


def test_prune_leaves_alone_what_is_being_computed(shop: Path, old: None) -> None:
    found: list[list[care.Waste]] = []

    def compute(folder: Path, partial: Path) -> dict[str, Any]:
        found.append([waste for waste in care.unneeded(shop)[0] if waste.what.startswith("unfinished")])
        return {}

    Store(shop).make("egg", {"minutes": 1}, compute)
    assert found == [[]]


def test_a_damaged_reference_stops_prune(shop: Path, capsys: pytest.CaptureFixture[str], old: None) -> None:
    made = egg(Store(shop), 6)
    (shop / "refs").mkdir()
    (shop / "refs" / "torn.json").write_text('{"folder": "/')
    assert main(["prune", "--delete"]) == 1
    assert "torn.json is damaged" in capsys.readouterr().err and made.folder.exists()


def test_sizes_are_said_in_words() -> None:
    from ftsafety.store.__main__ import _size

    assert [_size(size) for size in (0, 999, 1000, 123_456_789, 10**13)] == ["0 B", "999 B", "1.0 kB", "123.5 MB", "10.0 TB"]
