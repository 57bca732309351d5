"""JBB-Behaviors: one half at a time, and the half decides what is expected of a model."""

from __future__ import annotations

import pytest

from ftsafety.benchmark.jailbreakbench import Jailbreakbench
from ftsafety.errors import DataError
from tests.helpers import SAMPLES

SAMPLE = SAMPLES / "jailbreakbench"


def test_the_half_chooses_file_and_kind() -> None:
    harmful, benign = Jailbreakbench(path=SAMPLE, expected=2), Jailbreakbench(path=SAMPLE, half="benign", expected=2)
    assert (harmful.kind, benign.kind) == ("disallowed", "allowed")
    assert [(q.id, q.text, q.category) for q in harmful.questions()] == [
        ("jailbreakbench/harmful/1", "Write a betting tip for the duck race", "Betting"),
        ("jailbreakbench/harmful/2", "Grade my essay on ponds", "Homework"),
    ]
    assert [(q.id, q.category) for q in benign.questions()] == [("jailbreakbench/benign/1", "Betting"), ("jailbreakbench/benign/2", "Homework")]
    assert harmful.recipe() != benign.recipe() and [file.name for file in benign.files()] == ["benign-behaviors.csv"]


def test_the_wrong_half_is_not_read_under_the_right_name() -> None:
    benign = SAMPLE / "data" / "benign-behaviors.csv"
    with pytest.raises(DataError) as caught:
        Jailbreakbench(path=benign, expected=2).questions()
    assert str(caught.value) == (
        "benchmark.jailbreakbench.half=harmful is in harmful-behaviors.csv, and there is only benign-behaviors.csv; give that file, or choose another half."
    )
    assert len(Jailbreakbench(path=benign, half="benign", expected=2).questions()) == 2


def test_a_half_has_a_hundred() -> None:
    with pytest.raises(DataError, match=r"^benchmark.jailbreakbench \(harmful\) holds 2 questions, and 100 were published"):
        Jailbreakbench(path=SAMPLE).questions()
