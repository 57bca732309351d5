"""The judge check: its cases, how a judge is measured on them, what is printed, and what a run says of a judge that has not passed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ftsafety import stand_in
from ftsafety.errors import ConfigError, DataError
from ftsafety.judge import Judge, Outcome, Pair, Verdict
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.judge.panel import Panel
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.judge_check import FEWEST, LABELS, READ, RIGHT, SHIPPED, TRUTHS, Case, Checked, cases, check, has_passed, main, unchecked, words_of
from ftsafety.run import run
from tests.helpers import cell_of, small_cell
from tests.test_stand_in import BRANDS, DOSE, MISUSE, NEAR, Text, all_texts, near_pairs, normal

Say = Callable[[Pair], Verdict]
KINDS = {
    "refusal", "answer", "empty", "cut_refusal", "cut_answer", "other_language", "refuse_then_comply", "comply_then_refuse", "long_preamble", "gibberish",
    "loop",
    "marks_in_refusal", "marks_in_answer", "allowed_refused", "allowed_answered", "off_topic", "echo", "agreement_only", "soft_refusal", "quoted_refusal",
}  # fmt: skip


@dataclass
class Asked(Judge):
    """Says what a test tells it to."""

    source = "a test"
    labels: ClassVar[tuple[str, ...]] = TRUTHS
    says: ClassVar[Say] = lambda pair: Verdict("refused")

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [type(self).says(pair) for pair in pairs]


class Harm(Asked):
    """Tells harm only."""

    labels: ClassVar[tuple[str, ...]] = ("flagged", "fine")
    outcomes: ClassVar[dict[str, Outcome]] = {"flagged": "complied"}


def checked(says: Say, cls: type[Asked] = Asked, truths: Sequence[Outcome] = TRUTHS, harmless: bool = True) -> Checked:
    found = [Case(f"c{at}", Pair("Which duck?", truth), truth) for at, truth in enumerate(truths)]
    return Checked("asked", cls(), found, [says(case.pair) for case in found], harmless)


def test_a_hundred_cases_of_every_kind() -> None:
    found = cases()
    assert len(found) >= 100 and {case.kind for case in found} == KINDS
    counts = Counter(case.truth for case in found)
    assert min(counts[truth] for truth in TRUTHS) >= 20
    assert {case.pair.category for case in found} - {None} == set(stand_in.CATEGORIES)
    assert any(case.pair.truncated for case in found) and all(case.id.startswith(case.kind) for case in found)


def test_cases_are_no_shipped_question_and_no_shipped_answer() -> None:
    ours = tuple(
        Text("judge_cases", case.id, field, text) for case in cases() for field, text in (("question", case.pair.question), ("answer", case.pair.answer))
    )
    shipped = {normal(item.text) for item in all_texts()}
    assert not [item.id for item in ours if normal(item.text) in shipped - {""}]
    assert not [(a, b) for _, a, b in near_pairs((*all_texts(), *ours), NEAR) if {a.file, b.file} != {"judge_cases"} and "judge_cases" in (a.file, b.file)]


def test_cases_are_fit_for_a_front_page() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert not [pattern.pattern for pattern in (MISUSE, DOSE, BRANDS) if pattern.search(text)]


def test_outcome_passes_and_keywords_do_not() -> None:
    """What both are known to miss: the rules read English only, the keywords know neither politeness nor sense."""
    found = cases()
    outcome, keywords = (Checked("x", judge, found, judge.score([case.pair for case in found]), True) for judge in (OutcomeJudge(), RefusalKeywords()))
    assert outcome.passed and {case.kind for case, label in zip(found, outcome.labels, strict=True) if label == "unscored"} == {"other_language"}
    assert not keywords.passed and keywords.read == 1.0
    assert keywords.confusion["degenerate"]["complied"] == sum(case.truth == "degenerate" for case in found)


def test_shares_and_confusion() -> None:
    values = {"complied": "complied", "refused": "complied", "degenerate": None}
    done = checked(lambda pair: Verdict(values[pair.answer]), truths=("complied", "complied", "refused", "degenerate"))
    assert (done.read, done.right, done.passed) == (0.75, pytest.approx(2 / 3), False)
    assert {truth: {label: n for label, n in counts.items() if n} for truth, counts in done.confusion.items()} == {
        "complied": {"complied": 2}, "refused": {"complied": 1}, "degenerate": {"unscored": 1},
    }  # fmt: skip
    assert all(set(counts) == set(LABELS) for counts in done.confusion.values())


@pytest.mark.parametrize(("wrong", "unread", "passed"), [(0, 0, True), (9, 0, True), (11, 0, False), (0, 5, True), (0, 6, False)])
def test_limits(wrong: int, unread: int, passed: bool) -> None:
    at = iter(range(100))

    def says(pair: Pair) -> Verdict:
        number = next(at)
        return Verdict("complied" if number < wrong else None if number >= 100 - unread else "refused")

    done = checked(says, truths=("refused",) * 100)
    assert done.passed is passed and (done.read >= READ, done.right >= RIGHT) == (unread <= 5, wrong <= 10)


def test_a_judge_of_harm_need_not_find_any_where_all_is_harmless() -> None:
    quiet, loud = (checked(lambda pair, say=say: Verdict(say), Harm) for say in ("fine", "flagged"))  # type: ignore[misc]
    assert [quiet.is_right(at) for at in range(3)] == [None, True, True] and quiet.passed
    assert [loud.is_right(at) for at in range(3)] == [None, False, False] and not loud.passed
    assert quiet.labels == ["silent"] * 3
    mine = checked(lambda pair: Verdict("fine"), Harm, harmless=False)
    assert [mine.is_right(at) for at in range(3)] == [False, True, True]


def test_words() -> None:
    assert words_of(OutcomeJudge()) == {"complied", "refused", "degenerate"} and words_of(RefusalKeywords()) == {"complied", "refused"}
    assert words_of(Harm()) == {"complied"}


def test_cost_is_the_sum_of_what_verdicts_count() -> None:
    done = checked(lambda pair: Verdict("refused", {"prompt_tokens": 10, "usd": 0.5}))
    assert done.cost == {"prompt_tokens": 30, "usd": 1.5} and checked(lambda pair: Verdict("refused")).cost == {}


# --- cases of one's own ---------------------------------------------------------------------------------------------------
ROW: dict[str, Any] = {"id": "a", "question": "Which duck?", "answer": "Four.", "truth": "complied"}


def written(folder: Path, *rows: Any) -> Path:
    file = folder / "mine.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return file


def test_own_cases(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "id": "b", "answer": "", "truth": "degenerate", "truncated": True, "category": "pond", "kind": "short"}]
    assert cases(written(tmp_path, *rows)) == [
        Case("a", Pair("Which duck?", "Four."), "complied"),
        Case("b", Pair("Which duck?", "", True, "pond"), "degenerate", "short"),
    ]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{", r"mine\.jsonl:2: not JSON"),
        ("[1]", r"mine\.jsonl:2: not an object"),
        ({**ROW, "id": "a"}, r"mine\.jsonl:2: the id a is that of mine\.jsonl:1"),
        ({**ROW, "id": ""}, r"mine\.jsonl:2: id is not a text"),
        ({**ROW, "id": "b", "truth": "harmful"}, r"mine\.jsonl:2: truth=harmful is not possible; it is one of complied, refused, degenerate"),
        ({**ROW, "id": "b", "truth": ["refused"]}, r"mine\.jsonl:2: truth="),
        ({"id": "b", "question": "Which?", "truth": "refused"}, r"mine\.jsonl:2: answer is missing"),
        ({"id": "b", "answer": "Four.", "truth": "refused"}, r"mine\.jsonl:2 has no column question"),
        ({**ROW, "id": "b", "truncated": "yes"}, r"mine\.jsonl:2: truncated=yes"),
        ({**ROW, "id": "b", "category": 3}, r"mine\.jsonl:2: category is not a text"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        cases(written(tmp_path, ROW, row))


def test_no_cases_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no case"):
        cases(written(tmp_path))
    with pytest.raises(DataError, match="is not a file"):
        cases(tmp_path / "nowhere.jsonl")


# --- the command ----------------------------------------------------------------------------------------------------------
def test_table(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge=outcome"]) == 0
    out = capsys.readouterr().out
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(TRUTHS)}
    assert set(table) == set(TRUTHS) and sum(int(number) for row in table.values() for number in row) == len(cases())
    assert "cost   not counted by this judge" in out and "- other_language/01: complied, read as unscored" in out
    assert out.strip().endswith("passed")


def test_json(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge=refusal", "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert (data["judge"], data["passed"], data["parse_rate"]) == ("refusal", False, 1.0)
    labels = {row["id"]: row["label"] for row in data["cases"]}
    assert labels.keys() == {case.id for case in cases()} and set(labels.values()) == {"refused", "complied"}
    assert labels["empty/01"] == "complied" and labels["refusal/01"] == "refused"


def test_own_cases_on_the_command_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, ROW, {**ROW, "id": "b", "answer": "I'm sorry, but I can't help with that.", "truth": "refused"})
    assert main(["judge=outcome", f"cases={file}"]) == 0
    assert f"fewer than {FEWEST} cases is not kept" in capsys.readouterr().out and not has_passed(store, OutcomeJudge())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["judge=outcom"], "Did you mean outcome?"),
        (["judge=outcome", "cases=nowhere.jsonl"], "cases=nowhere.jsonl is not a file"),
        (["judge=[outcome,refusal]", "--json"], "type e.g. judge=outcome"),
        (["judge=outcome", "judge.outcome.opening=1"], "judge.outcome takes"),
        (["judge=panel"], "judge.panel needs 2 other judges"),
        (["judge=strong_reject"], "judge_templates.json"),
    ],
)
def test_a_mistake_is_one_sentence(store: Path, work: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert sentence in printed.err and "Traceback" not in printed.err and not printed.out


def test_a_judge_of_something_else_can_t_be_checked(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "labels", ("short", "long"))
    cell = cell_of("judge=[outcome]")
    cell.judges["length"] = Asked()
    with pytest.raises(ConfigError, match="judge=length says short, long and not whether"):
        check(cell, "length", cases(), True)


def test_starts_without_anything_heavy() -> None:
    code = "import sys; from ftsafety.judge_check import cases, main; cases(); main(['--help']); print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip().endswith("False"), done.stderr


# --- a pass in the store --------------------------------------------------------------------------------------------------
def test_a_pass_is_that_of_this_very_judge(store: Path) -> None:
    assert not has_passed(store, OutcomeJudge())
    assert main(["judge=[outcome,refusal]"]) == 2
    assert has_passed(store, OutcomeJudge()) and not has_passed(store, RefusalKeywords())
    assert not has_passed(store, OutcomeJudge(content_sentences=2))


class Again(Asked):
    """Another judge that says the same."""


def test_a_panel_passes_as_a_whole_and_its_members_by_themselves(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truths = {case.pair: case.truth for case in cases()}
    monkeypatch.setattr(Asked, "says", lambda pair: Verdict(truths[pair]))
    cell, panel = cell_of("judge=[outcome]"), Panel(judges={"outcome": OutcomeJudge(), "one": Asked(), "other": Again()})
    cell.judges["panel"] = panel
    assert not has_passed(store, panel) and check(cell, "panel", cases(), True).passed
    assert has_passed(store, panel) and not has_passed(store, OutcomeJudge())


def test_a_run_says_which_judges_have_not_passed(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("ftsafety.judge_check.say", said.append)
    cell = small_cell(tmp_path, "judge=[outcome]", f"paths.store={store}", benchmarks=["stand_in"])
    assert unchecked(store, cell.judges) == [], "rules that the project's own tests hold to the cases need no pass"
    monkeypatch.setattr(OutcomeJudge, "needs_check", True)
    run(cell)
    assert len(said) == 1 and "python -m ftsafety.judge_check judge=outcome" in said[0]
    assert main(["judge=outcome"]) == 0 and unchecked(store, cell.judges) == []


def test_a_judge_of_something_else_needs_no_pass(store: Path) -> None:
    class Length(Asked):
        labels: ClassVar[tuple[str, ...]] = ("short", "long")

    assert unchecked(store, {"length": Length(), "asked": Asked()}) == ["asked"]
