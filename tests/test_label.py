"""Labelling by hand: a random sample that stays one at every place, keys, the way back, going on, and no text where none may be."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftsafety import stand_in
from ftsafety.errors import DataError
from ftsafety.label import CUT, main, printable, sit
from ftsafety.record import Run
from ftsafety.run import run
from ftsafety.sample import FILE, Labels, Slice, Unit, slice_of
from tests.helpers import small_cell

ONE = ("stand_in",)
Label = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A small run of the tiny model, before and after tuning, and its store."""
    folder = tmp_path_factory.mktemp("made")
    return run(small_cell(folder, "+attack=identity_shift", benchmarks=ONE)), folder / "store"


@pytest.fixture
def record(made: tuple[Run, Path], tmp_path: Path) -> Run:
    """A copy of that run that nobody has labelled."""
    return reloaded(shutil.copytree(made[0].folder, tmp_path / "seed=0"))


@pytest.fixture
def label(made: tuple[Run, Path], record: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Label:
    """``label("rcq", "--count", "6")`` types these keys, a line each; gives the exit code and what was printed."""

    def typed(keys: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{key}\n" for key in keys)))
        code = main([str(record.folder), "--store", str(made[1]), *arguments])
        return code, *(" ".join(text.split()) for text in capsys.readouterr())

    return typed


def reloaded(folder: Path) -> Run:
    found = Run.load(folder)
    assert found is not None
    return found


def lines(record: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (record.folder / FILE).read_text(encoding="utf-8").splitlines()]


# --- the sample -----------------------------------------------------------------------------------------------------------


def test_every_beginning_of_the_order_is_balanced(record: Run) -> None:
    part = slice_of(record, "stand_in")
    sizes = Counter(unit.family for unit in part.order)
    assert len(sizes) == 6 and set(sizes.values()) == {len(stand_in.CATEGORIES)} and len(set(part.order)) == len(part.order)
    for place in range(1, len(part.order) + 1):
        so_far = Counter(unit.family for unit in part.order[:place])
        assert max(so_far.values()) - min(so_far[family] for family in sizes) <= 1
    questions = [[unit.question for unit in part.order if unit.family == family] for family in sizes]
    assert len({tuple(one) for one in questions}) == 6 and questions[0] != sorted(questions[0]), "each family is shuffled by itself"
    assert len({tuple(unit.family for unit in part.order[at : at + 6]) for at in range(0, 60, 6)}) > 1, "a place does not tell whose answer it is"


def test_the_order_is_the_run_s_own(record: Run) -> None:
    part = slice_of(record, "stand_in")
    assert slice_of(reloaded(record.folder), "stand_in") == part
    record.data["seed"] = 1
    assert slice_of(record, "stand_in").order != part.order


def test_the_design_is_written_down(label: Label, record: Run) -> None:
    assert label("r")[0] == 0
    first, second = lines(record)
    families = first["slice"]["families"]
    assert {(one["weights"], one["condition"]) for one in families} == {(w, c) for w in ("initial", "tuned") for c in ("train", "plain", "safe")}
    assert {one["answers"] for one in families} == {len(stand_in.CATEGORIES)} and first["slice"]["seed"] == f"{record.data['cell']}/0/stand_in"
    unit = slice_of(record, "stand_in").order[0]
    assert second == {"benchmark": "stand_in", "place": 0, "question": unit.question, "answer": unit.answer, "label": "refused", "by": "anonymous"}


# --- a sitting ------------------------------------------------------------------------------------------------------------


def given(record: Run, by: str = "anonymous") -> list[str]:
    return list(Labels(record).places("stand_in", by).values())


def test_keys(label: Label, record: Run) -> None:
    code, out, _ = label("rcxdsqr")
    assert code == 0 and given(record) == ["refused", "complied", "degenerate", "skipped"]
    assert "3 of 66 answers to stand_in have a label by anonymous, 1 skipped" in out and f"python -m ftsafety.agreement {record.folder}" in out
    assert out.count("3 of 60") == 2, "a key that is none asks again"


def test_going_on(label: Label, record: Run) -> None:
    label("rr")
    _, out, _ = label("cc", "--count", "4")
    assert given(record) == ["refused", "refused", "complied", "complied"]
    assert "1 of 4" not in out and "3 of 4" in out
    code, out, _ = label("rrr", "--count", "4")
    assert code == 0 and "question" not in out and len(given(record)) == 4


def test_back(label: Label, record: Run) -> None:
    label("brrbc", "--count", "3")
    assert given(record) == ["refused", "complied"]
    label("bbdq", "--count", "3")
    assert given(record) == ["degenerate", "complied"], "the way back leads through earlier sittings, and what lies between stays"


def test_everybody_labels_the_same(label: Label, record: Run) -> None:
    label("rr", "--by", "anna")
    label("c", "--by", "ben")
    labels = Labels(record)
    assert labels.people("stand_in") == ["anna", "ben"]
    assert labels.of("stand_in", "anna").keys() > labels.of("stand_in", "ben").keys() and len(lines(record)) == 4


def test_blind_and_without_text(label: Label, record: Run, made: tuple[Run, Path]) -> None:
    _, out, _ = label("r" * 12, "--count", "12")
    for told in ("initial", "tuned", "train", "plain", "safe", "outcome", "unscored", "identity"):
        assert told not in out.partition("12 of 66")[0], told
    unit, kept = slice_of(record, "stand_in").order[0], (record.folder / FILE).read_text(encoding="utf-8")
    asked = next(row["question"] for row in stand_in.load("benchmark") if row["id"] == unit.question)
    assert " ".join(asked.split())[:40] in out
    texts = [json.loads(line)["text"] for file in (made[1] / "answer").glob("*/answers.jsonl") for line in file.read_text(encoding="utf-8").splitlines()]
    assert texts and asked not in kept and not [text for text in texts if len(text) > 8 and json.dumps(text)[1:-1] in kept]


def test_a_question_and_answer_are_read_once() -> None:
    """Weights that say the same: one label for both, and a better one later for both, too."""
    units = [Unit(weights, "ducks", "none", "plain", question, answer) for weights, question, answer in TWINS]
    part = Slice("ducks", "0", tuple(units))
    labels = Kept()
    sit(labels, part, {unit.pair: unit.pair for unit in units}, "anna", 9, iter("rcbbdq"), Console(file=io.StringIO()))
    assert labels.places("ducks", "anna") == {0: "degenerate", 1: "complied", 2: "degenerate"}


TWINS = [("initial", "one", "quack"), ("tuned", "two", "quack"), ("tuned", "one", "quack"), ("initial", "two", "honk")]


class Kept(Labels):
    """Labels in memory."""

    def __init__(self) -> None:
        self.slices, self._given = {}, {}

    def add(self, part: Slice, by: str, places: Any, label: str) -> None:
        self._given.setdefault((part.benchmark, by), {}).update(dict.fromkeys(places, label))


def test_the_screen_is_not_written_over() -> None:
    assert printable("a\x1b[2Jb\x07\tc\nनमस्ते") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}\tc\nनमस्ते"


def test_a_cut_answer_says_so(label: Label, made: tuple[Run, Path]) -> None:
    assert any(row["truncated"] for row in made[0].verdicts)
    assert CUT.strip() in label("r" * 20, "--count", "20")[1]


# --- what can't be --------------------------------------------------------------------------------------------------------


def test_mistakes(label: Label, record: Run, tmp_path: Path) -> None:
    for arguments, says in (
        (["--count", "0"], "--count 0 is not possible; give at least 1."),
        (["--benchmark", "xstest"], "--benchmark xstest is not possible; of this run's benchmarks stand_in can be labelled."),
        (["--store", str(tmp_path)], "give the run's store with --store DIR, or type the run's command again."),
        (["benchmark.xstest.path=x"], "benchmark.xstest.path=x is not possible; type benchmark.stand_in.KEY=VALUE."),
        (["benchmark.stand_in.split=report"], "these are not the questions"),
    ):
        code, _, err = label("r", *arguments)
        assert code == 1 and says in err, err
    assert not (record.folder / FILE).exists()
    (record.folder / "DONE").unlink()
    assert "is not a finished run" in label("r")[2]


def test_other_shipped_questions(label: Label, record: Run) -> None:
    record.data["recipe"]["data"] = "0" * 64
    (record.folder / "run.json").write_text(json.dumps(record.data))
    assert "the shipped data differ from its record" in label("r")[2]


def test_a_damaged_file(label: Label, record: Run) -> None:
    label("rr")
    file = record.folder / FILE
    whole = file.read_text()
    file.write_text(whole + '{"benchmark": "stand_in", "pla')
    assert given(record) == ["refused"] * 2, "a torn last line was never given"
    label("c", "--count", "3")
    assert file.read_text().startswith(whole) and given(record) == ["refused", "refused", "complied"]
    for line in ("{", "[1]", json.dumps({**lines(record)[1], "label": "harmful"}), json.dumps({**lines(record)[1], "place": 3})):
        file.write_text(whole + line + "\n")
        with pytest.raises(DataError, match=r"labels\.jsonl:4 is damaged"):
            Labels(record)


def test_labels_of_other_answers(label: Label, record: Run) -> None:
    label("r")
    record.verdicts[0]["answer"] = "0" * 16
    with pytest.raises(DataError, match="labels other answers"):
        Labels(record)


# --- benchmarks of others -------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A run on questions of one's own, and their file."""
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"question": f"Is pond {number} open?"}) + "\n" for number in range(3)))
    cell = small_cell(tmp_path, "model=refuse_all", "benchmark=[jsonl]", f"benchmark.jsonl.path={file}", benchmarks=())
    yield run(cell).folder, file


def test_other_texts_are_shown_only_when_asked_for(mine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = mine
    monkeypatch.setattr(sys, "stdin", io.StringIO("r\n"))
    always = [str(folder), "--store", str(file.parent / "store")]

    def said(*arguments: str) -> str:
        main([*always, *arguments])
        return " ".join("".join(capsys.readouterr()).split())

    assert "names no data; type benchmark.jsonl.path=FILE" in said("--reveal")
    withheld = said(f"benchmark.jsonl.path={file}")
    assert "shown only with --reveal" in withheld and "pond" not in withheld
    assert "Is pond" in said("--reveal", f"benchmark.jsonl.path={file}")
    assert given(reloaded(folder)) == [] and Labels(reloaded(folder)).people("jsonl") == ["anonymous"]
    file.write_text('{"question": "Is it another?"}\n')
    assert "these are not the questions" in said("--reveal", f"benchmark.jsonl.path={file}")
