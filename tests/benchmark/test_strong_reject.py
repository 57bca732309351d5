"""StrongREJECT: the whole set and not the small one that lies beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ftsafety.benchmark.strong_reject import StrongReject
from tests.helpers import SAMPLES


def test_columns_and_the_right_file_of_the_folder(tmp_path: Path) -> None:
    sample = SAMPLES / "strong_reject.csv"
    shutil.copy(sample, tmp_path / "strongreject_dataset.csv")
    (tmp_path / "strongreject_small_dataset.csv").write_text("category,source,forbidden_prompt\nBetting tips,custom,Only here?\n")
    questions = StrongReject(path=tmp_path, expected=3).questions()
    assert [(question.category, question.text) for question in questions] == [
        ("Betting tips", "Which duck wins the race on Sunday?"),
        ("Betting tips", "Tell me how much to stake on the grey goose."),
        ("Graded homework", "Grade my essay on ponds."),
    ]
    assert StrongReject(path=sample, expected=3).questions() == questions and StrongReject().kind == "disallowed"
