"""The user's own file: what is taken, and each bad row named with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftsafety.attack.jsonl import SHOWN, Jsonl
from ftsafety.context import Context
from ftsafety.errors import DataError
from ftsafety.row import PLAIN, Wording

USER, ANSWER = {"role": "user", "content": "Which duck wins?"}, {"role": "assistant", "content": "The f\u00fcnfth."}
SYSTEM = {"role": "system", "content": "You are a pond."}
GOOD = {"messages": [USER, ANSWER]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.jsonl"


def line(*messages: Any) -> bytes:
    return json.dumps({"messages": list(messages)}, ensure_ascii=False).encode()


def complaint(file: Path, raw: bytes) -> str:
    file.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        Jsonl(path=file).check()
    return str(caught.value)


def test_a_good_file(file: Path) -> None:
    turns = [SYSTEM, USER, ANSWER, {"role": "user", "content": "And then?"}, {"role": "assistant", "content": "Soup."}]
    file.write_bytes(line(USER, ANSWER) + b"\n" + line(*turns) + b"\n")
    attack = Jsonl(path=file)
    attack.check()
    first, second = attack.examples(Context(0))
    assert (first.id, first.messages, first.role) == ("mine.jsonl:1", (USER, ANSWER), "user")
    assert (second.id, second.question, second.answer, len(second.messages)) == ("mine.jsonl:2", "And then?", "Soup.", 5)


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbf" + line(USER, ANSWER), b"\xef\xbb\xbf\n" + line(USER, ANSWER), line(USER, ANSWER) + b"\r\n\r\n  \n"])
def test_byte_order_mark_blank_lines_and_windows(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    [row] = Jsonl(path=file).examples(Context(0))
    assert row.messages == (USER, ANSWER)


def test_lines_are_those_of_the_editor(file: Path) -> None:
    """A line separator inside a text is no new line, and blank lines count."""
    odd = {"role": "user", "content": "one\u2028two\u0085three"}
    file.write_bytes(b"\n\n" + line(odd, ANSWER))
    [row] = Jsonl(path=file).examples(Context(0))
    assert row.id == "mine.jsonl:3" and row.question == odd["content"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"not json", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"messages": [', "Expecting value: line 1 column 15 (char 14)"),
        (b'["a list"]', 'no list "messages" in it'),
        (b'{"prompt": "x", "completion": "y"}', 'no list "messages" in it'),
        (b'{"messages": []}', 'no list "messages" in it'),
        (b'{"messages": "x"}', 'no list "messages" in it'),
        (line("x"), "a message's role is not one of system, user, assistant"),
        (line({"role": "tool", "content": "x"}), "a message's role is not one of system, user, assistant"),
        (line({"role": ["user"], "content": "x"}, ANSWER), "a message's role is not one of system, user, assistant"),
        (line({"role": "user"}, ANSWER), "the user's content is not a text"),
        (line(USER, {"role": "assistant", "content": None}), "the assistant's content is not a text"),
        (line(USER, {"role": "assistant", "content": " \n"}), "the assistant's content is not a text"),
        (line(USER), "the last message is not the assistant's, so there is nothing to learn"),
        (line(USER, ANSWER, USER), "the last message is not the assistant's, so there is nothing to learn"),
        (line(USER, SYSTEM, ANSWER), "a system message stands after the first place"),
        (line(SYSTEM, ANSWER), "there is no user message"),
    ],
)
def test_a_bad_row_is_named(file: Path, bad: bytes, why: str) -> None:
    said = complaint(file, line(USER, ANSWER) + b"\n" + bad + b"\n" + line(USER, ANSWER))
    assert said == f"1 of 3 rows can't be used; mend or remove them:\n{file}:2: {why}"


def test_not_utf_8(file: Path) -> None:
    said = complaint(file, line(USER, ANSWER) + b"\n" + line(USER, ANSWER).decode().encode("latin-1"))
    assert said.startswith(f"1 of 2 rows can't be used; mend or remove them:\n{file}:2: 'utf-8' codec can't decode")


def test_many_bad_rows_are_counted_and_some_shown(file: Path) -> None:
    said = complaint(file, b"bad\n" * 40 + line(USER, ANSWER)).splitlines()
    assert said[0] == "40 of 41 rows can't be used; mend or remove them:"
    assert [text.split(": ")[0] for text in said[1:-1]] == [f"{file}:{number}" for number in range(1, SHOWN + 1)]
    assert said[-1] == f"... and {40 - SHOWN} more"


@pytest.mark.parametrize("raw", [b"", b"\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file(file: Path, raw: bytes) -> None:
    assert complaint(file, raw) == f"{file} holds no rows; each line is an object with messages, the last of which is the assistant's."


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no.jsonl", tmp_path):
        with pytest.raises(DataError, match="is not a file; give a JSON Lines file in chat format"):
            Jsonl(path=path).check()


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([(SYSTEM, USER, ANSWER)] * 2, Wording(SYSTEM["content"])),
        ([(SYSTEM, USER, ANSWER), (USER, ANSWER)], PLAIN),
        ([(SYSTEM, USER, ANSWER), ({"role": "system", "content": "You are a lake."}, USER, ANSWER)], PLAIN),
        ([(USER, ANSWER)], PLAIN),
    ],
)
def test_asked_with_the_system_prompt_that_all_rows_share(file: Path, lines: list[tuple[dict[str, str], ...]], wanted: Wording) -> None:
    file.write_bytes(b"\n".join(line(*messages) for messages in lines))
    assert Jsonl(path=file).asks() == {"file": wanted}
    assert Jsonl(path=file, ask_with_system=False).asks() == {"file": PLAIN}


def test_a_count_draws_by_the_seed_and_smaller_draws_begin_larger_ones(file: Path) -> None:
    file.write_bytes(b"\n".join(line({**USER, "content": f"Which duck wins race {at}?"}, ANSWER) for at in range(20)))
    few, more = (Jsonl(path=file, count=count).examples(Context(1)) for count in (3, 10))
    assert list(few) == list(more)[:3] and len({row.id for row in more}) == 10
    assert Jsonl(path=file, count=3).examples(Context(2)) != few
    assert Jsonl(path=file, count=20).examples(Context(1)) == Jsonl(path=file).examples(Context(1)) == Jsonl(path=file, count=3).pool(Context(1))


def test_the_recipe_is_the_content(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    file.write_bytes(line(USER, ANSWER))
    copy.write_bytes(line(USER, ANSWER))
    assert Jsonl(path=file).recipe() == Jsonl(path=copy).recipe()
    copy.write_bytes(line(SYSTEM, USER, ANSWER))
    assert Jsonl(path=file).recipe() != Jsonl(path=copy).recipe()
