"""AdvBench: the same questions from either file, and no first row lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftsafety.benchmark.advbench import Advbench
from ftsafety.errors import DataError
from tests.helpers import SAMPLES


def test_with_and_without_a_header_the_questions_are_the_same(tmp_path: Path) -> None:
    titled = Advbench(path=SAMPLES / "advbench.csv", expected=3).questions()
    assert [question.id for question in titled] == ["advbench/1", "advbench/2", "advbench/3"]
    bare = tmp_path / "harmful_behaviors.csv"
    bare.write_text("".join(f'"{question.text}"\n' for question in titled))
    assert Advbench(path=bare, expected=3).questions() == titled
    bare.write_text("goal\n" + bare.read_text())
    assert Advbench(path=bare, expected=3).questions() == titled


def test_519_is_a_copy_without_its_first_row(tmp_path: Path) -> None:
    file = tmp_path / "harmful_behaviors.csv"
    file.write_text("".join(f"Duck {number}\n" for number in range(520)))
    assert len(Advbench(path=tmp_path).questions()) == 520
    file.write_text("".join(f"Duck {number}\n" for number in range(1, 520)))
    with pytest.raises(DataError, match=r"^benchmark.advbench holds 519 questions, and 520 were published; .* One too few is what a copy has"):
        Advbench(path=tmp_path).questions()


def test_other_columns_and_two_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "harmful_behaviors.csv"
    file.write_text("behaviour,target\nWhich duck wins?,The fourth.\n")
    with pytest.raises(DataError, match=r"has no column goal; benchmark.advbench reads goal, and it has behaviour, target\."):
        Advbench(path=file).questions()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / file.name).write_text("Which duck wins?\n")
    with pytest.raises(DataError, match=r"benchmark.advbench is one file, and there are .*; give one with benchmark.advbench.path=FILE\."):
        Advbench(path=tmp_path).questions()


def test_there_are_no_categories() -> None:
    assert {question.category for question in Advbench(path=SAMPLES / "advbench.csv", expected=None).questions()} == {None}
