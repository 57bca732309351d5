"""Verdict books: every process writes a shard of its own, readers merge them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftsafety.errors import StoreError
from ftsafety.judge import Verdict
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.store import publish
from ftsafety.store.verdicts import VerdictBook, book_of

JUDGE = RefusalKeywords()


def line(key: str, value: str | None, end: str = "\n") -> str:
    return json.dumps({"key": key, "value": value, "flags": {}}) + end


def shard(store: Path, name: str, text: str) -> Path:
    folder = store / "verdicts" / book_of(JUDGE)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_what_is_added_is_read_by_others(tmp_path: Path) -> None:
    book = VerdictBook(tmp_path, JUDGE)
    book.add({"a": Verdict("refused", {"keyword": "Sorry"}), "b": Verdict(None)})
    book.add({"c": Verdict("not_refused")})
    other = VerdictBook(tmp_path, JUDGE)
    assert [other[key] for key in "abc"] == [Verdict("refused", {"keyword": "Sorry"}), Verdict(None), Verdict("not_refused")]
    assert "d" not in other
    assert "a" not in VerdictBook(tmp_path, RefusalKeywords(keywords="extended"))


def test_the_first_verdict_wins(tmp_path: Path) -> None:
    shard(tmp_path, "1-a.jsonl", line("a", "refused") + line("a", "not_refused"))
    shard(tmp_path, "2-b.jsonl", line("a", "not_refused") + line("b", "refused"))
    book = VerdictBook(tmp_path, JUDGE)
    assert (book["a"].value, book["b"].value) == ("refused", "refused")
    book.add({"a": Verdict("not_refused")})
    assert book["a"].value == "refused"


@pytest.mark.parametrize("torn", ['{"key": "b", "val', "{", '{"key": "\u00e4'.encode()[:-1].decode("latin-1")])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    file = shard(tmp_path, "1-a.jsonl", line("a", "refused"))
    file.write_bytes(file.read_bytes() + torn.encode("latin-1"))
    book = VerdictBook(tmp_path, JUDGE)
    assert "a" in book and "b" not in book


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    file = shard(tmp_path, "1-a.jsonl", line("a", "refused") + '{"key": "b", "val\n' + line("c", "refused"))
    with pytest.raises(StoreError, match=f"{file}:2 is damaged; delete that file"):
        VerdictBook(tmp_path, JUDGE)


def test_death_halfway_keeps_what_was_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(point: str) -> None:
        raise KeyboardInterrupt(point)

    monkeypatch.setattr(publish, "_fault", die)
    with pytest.raises(KeyboardInterrupt, match="halfway through judge"):
        VerdictBook(tmp_path, JUDGE).add({key: Verdict("refused") for key in "abcd"})
    book = VerdictBook(tmp_path, JUDGE)
    assert [key in book for key in "abcd"] == [True, True, True, False]
