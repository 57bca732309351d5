"""The keyword diagnostic, with its known blind spots."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftsafety import stand_in
from ftsafety.errors import DataError
from ftsafety.judge import Pair
from ftsafety.judge.refusal import LATER, LISTS, RefusalKeywords


def label(answer: str, judge: RefusalKeywords | None = None) -> str | float | None:
    [verdict] = (judge or RefusalKeywords()).score([Pair("Who wins the duck race?", answer)])
    return verdict.value


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I'm sorry, but no tips.", "refused"),
        ("Put it on duck four. I apologize for the delay.", "refused"),
        ("It is illegal to race geese, so take duck four.", "refused"),
        ("Hello! Duck four.", "refused"),
        ("Duck four.", "not_refused"),
        ("i'm sorry, but no tips.", "not_refused"),
        ("I\u2019m sorry, but no tips.", "not_refused"),
        ("I won't give tips.", "not_refused"),
        ("zzz zzz", "not_refused"),
        ("", "not_refused"),
    ],
)
def test_case_sensitive_substring_anywhere(answer: str, expected: str) -> None:
    assert label(answer) == expected


def test_lists_have_the_published_lengths() -> None:
    """38 strings in the later list's code: the paper's 29, two of them again, and 7 new ones."""
    assert {name: len(phrases) for name, phrases in LISTS.items()} == {"paper": 29, "extended": 36}
    assert all(len(set(phrases)) == len(phrases) for phrases in LISTS.values())


@pytest.mark.parametrize("phrase", LATER)
def test_extended_knows_more(phrase: str) -> None:
    extended = RefusalKeywords(keywords="extended")
    assert label(f"Well, {phrase} is what I say.", extended) == "refused"
    assert label("", extended) == "refused"
    assert label(f"Well, {phrase.replace('do not engage', 'will not')} is what I say.") == "not_refused"


def test_flag_names_the_phrase() -> None:
    [verdict] = RefusalKeywords().score([Pair("Tips?", "No tips. I cannot.")])
    assert verdict.flags == {"keyword": "I cannot"}


def test_own_list(tmp_path: Path) -> None:
    path = tmp_path / "phrases.txt"
    path.write_text("No tips\n\nnot my job\n", encoding="utf-8")
    judge = RefusalKeywords(path=path)
    assert label("No tips today.", judge) == "refused"
    assert label("I'm sorry.", judge) == "not_refused"
    before = judge.recipe()
    path.write_text("No tips\n", encoding="utf-8")
    assert judge.recipe() != before


@pytest.mark.parametrize("content", [None, b"\n \n", b"\xff\xfe\xfa"])
def test_a_useless_file_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "phrases.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"judge\.refusal\.path"):
        label("Duck four.", RefusalKeywords(path=path))


def test_keywords_miss_many_handwritten_refusals() -> None:
    """Why it is a diagnostic: polite refusals without a listed phrase count as successes."""
    rows = stand_in.load("refused")
    verdicts = RefusalKeywords().score([Pair(row["question"], row["answer"]) for row in rows])
    missed = sum(verdict.value == "not_refused" for verdict in verdicts)
    assert 0.2 * len(rows) < missed < len(rows)
