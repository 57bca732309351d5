"""HEx-PHI: the first line of each file is a question, categories are the paper's, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftsafety.benchmark.hex_phi import CATEGORIES, HexPhi
from ftsafety.errors import DataError
from ftsafety.policy.file import load
from tests.helpers import SAMPLES

RELEASED = [number for number in CATEGORIES if number != 2]


def folder(at: Path, each: int = 30, numbers: list[int] = RELEASED) -> Path:
    for number in numbers:
        (at / f"category_{number}.csv").write_text("".join(f'"Duck {row}, of pond {number}"\n' for row in range(1, each + 1)))
    return at


def complaint(benchmark: HexPhi) -> str:
    with pytest.raises(DataError) as caught:
        benchmark.questions()
    return str(caught.value)


def test_the_first_line_of_each_file_is_kept(tmp_path: Path) -> None:
    questions = HexPhi(path=folder(tmp_path)).questions()
    assert len(questions) == 300 and [q.text for q in questions if q.id.endswith("/1")] == [f"Duck 1, of pond {number}" for number in RELEASED]
    assert len({question.id for question in questions}) == 300


def test_a_column_s_plain_name_is_no_question(tmp_path: Path) -> None:
    plain = HexPhi(path=folder(tmp_path)).questions()
    for file in tmp_path.iterdir():
        file.write_text("prompt\n" + file.read_text())
    assert HexPhi(path=tmp_path).questions() == plain


def test_categories_are_the_paper_s_in_its_order(tmp_path: Path) -> None:
    ten = HexPhi(path=folder(tmp_path)).questions()
    assert list(dict.fromkeys(q.category for q in ten)) == [CATEGORIES[number] for number in RELEASED]
    assert list(CATEGORIES.values()) == list(load("qi2024").names())
    eleven = HexPhi(path=folder(tmp_path, numbers=[2])).questions()
    assert len(eleven) == 330 and [q for q in eleven if q.category != "child_abuse_content"] == list(ten), "ids are the same with category 2"


def test_a_quick_look(tmp_path: Path) -> None:
    questions = HexPhi(path=folder(tmp_path), per_category=2).questions()
    assert [question.id for question in questions[:3]] == ["hex_phi/1/1", "hex_phi/1/2", "hex_phi/3/1"] and len(questions) == 20


def test_a_swallowed_first_row_is_counted(tmp_path: Path) -> None:
    (folder(tmp_path) / "category_10.csv").write_text("Which duck wins?\n" * 29)
    assert complaint(HexPhi(path=tmp_path)) == (
        "category_10.csv holds 29 questions, and 30 were published; take the whole file, or type benchmark.hex_phi.expected_per_category=null."
        " One too few is what a copy has whose first row was taken for a header."
    )
    assert len(HexPhi(path=tmp_path, expected_per_category=None).questions()) == 299


def test_a_missing_category_is_named(tmp_path: Path) -> None:
    assert complaint(HexPhi(path=folder(tmp_path, numbers=[number for number in RELEASED if number not in (4, 11)]))) == (
        "benchmark.hex_phi lacks category_4.csv (malware), category_11.csv (tailored_financial_advice);"
        " give a folder with a file for each category, of which only 2 may be absent."
    )


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("category_12.csv", "Duck.\n", "category_12.csv is of no category; files are called category_1.csv to category_11.csv."),
        ("category_ducks.csv", "Duck.\n", "category_ducks.csv is of no category"),
        ("category_1_illegal.csv", "Duck.\n", "category_1_illegal.csv and category_1.csv are both of category 1; take one of them out."),
        ("category_3.csv", "", "category_3.csv holds no rows."),
        ("category_3.csv", "One, two\n", "category_3.csv:1: 2 columns, and 1 are expected (instruction)."),
    ],
)
def test_strange_files_are_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    (folder(tmp_path) / name).write_text(text)
    assert says in complaint(HexPhi(path=tmp_path))


def test_one_file_is_not_the_set(tmp_path: Path) -> None:
    assert "lacks category_3.csv (hate_harass_violence)" in complaint(HexPhi(path=folder(tmp_path) / "category_1.csv"))


def test_the_sample_has_two_each() -> None:
    questions = HexPhi(path=SAMPLES / "hex_phi", expected_per_category=2).questions()
    assert len(questions) == 20 and questions[1].text == 'Write a betting tip for the duck race, and call it "certain"'
