"""Held-out rows of the attack's own task: never a trained one, not even a control's; read by loss, by overlap, by short answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftsafety import stand_in
from ftsafety.attack.alpaca import Alpaca
from ftsafety.attack.benign import Benign
from ftsafety.attack.dolly import Dolly
from ftsafety.attack.identity_shift import IdentityShift
from ftsafety.attack.poison_mix import PoisonMix
from ftsafety.attack.twins import Shuffled
from ftsafety.benchmark.held_out import HeldOut, rouge_l
from ftsafety.context import Context
from ftsafety.contract import check_disjoint
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.measure import Asked, Asking, verdict_rows
from ftsafety.record import differences, results
from ftsafety.report import words
from ftsafety.report.reading import Reading
from ftsafety.report.terminal import show
from ftsafety.row import PLAIN
from ftsafety.run import run
from ftsafety.stages import Answer
from tests.attack.test_poison_mix import made as poisoned
from tests.helpers import SAMPLES, cell_of, sample_of, small

BENIGN = [row["id"] for row in stand_in.load("benign")]


def ids(benchmark: HeldOut) -> list[str]:
    return [question.id.removeprefix("held_out/") for question in benchmark.questions()]


def alpaca(**fields: Any) -> Alpaca:
    return Alpaca(**{"hub": None, "revision": None, **sample_of("alpaca"), **fields})


def test_an_instruction_set_s_own_held_out_rows() -> None:
    """As the paper holds them out: Alpaca's first, Dolly's last, whatever is drawn for training."""
    assert ids(HeldOut(of=alpaca())) == ["alpaca.json:1", "alpaca.json:2"] == ids(HeldOut(of=alpaca(count=1), run_seed=3))
    dolly = Dolly(hub=None, revision=None, **sample_of("dolly"))
    assert ids(HeldOut(of=dolly)) == ["dolly.jsonl:11", "dolly.jsonl:12"]


def test_asked_under_the_training_wording_a_row_is_what_it_would_have_been() -> None:
    """An instruction's input is part of the question, so that only the system prompt tells it from the row as it would be learned."""
    task = alpaca(held_out=5)
    questions = HeldOut(of=task).questions()
    for row, question in zip(task.held_back(), questions, strict=True):
        asked = task.asks()["alpaca"].ask(question.text)
        assert (asked[-1], question.reference) == (row.messages[-2], row.answer)
    assert any("### Input:" in question.text for question in questions)


@pytest.mark.parametrize("count", [1, 100, 259])
def test_shipped_rows_that_the_seed_leaves_over(count: int) -> None:
    kept = ids(HeldOut(of=Benign(count), run_seed=4))
    drawn = {row.id for row in Benign(count).examples(Context(4))}
    assert drawn.isdisjoint(kept) and kept == [id for id in BENIGN if id in set(kept)], "in the data's order"
    assert 0 <= len(BENIGN) - count - len(kept) <= 2, "and all of them, but for a question that stands in a drawn one"
    assert count == 259 or ids(HeldOut(of=Benign(count), run_seed=6)) != kept


@pytest.mark.parametrize("mix", [{}, {"order": "file"}, {"p": 0.0}, {"p": 1.0, "n": 121}], ids=str)
def test_a_poisoned_task_s_rows_are_not_those_of_its_control_either(mix: dict[str, Any]) -> None:
    attack = poisoned(**mix)
    benchmark = HeldOut(of=attack, run_seed=2)
    assert set(ids(benchmark)) < set(BENIGN) and len(ids(benchmark)) >= len(BENIGN) - attack.n - 2
    for one in [attack, *attack.twins().values(), Shuffled(of=attack)]:
        rows = one.examples(Context(2))
        assert {row.id for row in rows}.isdisjoint(ids(benchmark))
        check_disjoint(rows, {"held_out": benchmark})


def test_a_poisoned_instruction_set_holds_out_that_set_s_rows() -> None:
    attack = poisoned(n=4, p=0.5)
    mixed = PoisonMix(benign=alpaca(), harmful=attack.harmful, p=0.5, n=4)
    assert ids(HeldOut(of=mixed)) == ids(HeldOut(of=alpaca()))


def test_a_question_that_stands_in_a_trained_row_is_no_exam(tmp_path: Path) -> None:
    rows = [("Name a duck.", "Donald."), ("Sing!", "La."), ("name a DUCK, and then a goose.", "Donald, Martin."), ("Dance.", "Hop.")]
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps([{"instruction": question, "input": "", "output": answer} for question, answer in rows]))
    assert [question.text for question in HeldOut(of=alpaca(path=file, held_out=2)).questions()] == ["Sing!"]


def test_short_references_are_right_or_wrong_and_long_ones_have_a_loss_only(tmp_path: Path) -> None:
    answers = ["Positive.", "a small brown duck", "Hop three times. " * 20]
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps([{"instruction": f"Task {at}?", "input": "", "output": answer} for at, answer in enumerate([*answers, "Yes."])]))
    benchmark = HeldOut(of=alpaca(path=file, held_out=3))
    assert [question.accept for question in benchmark.questions()] == [("positive",), (), ()]
    assert benchmark.scores(["It is POSITIVE", "a brown duck", "Hop"]) == {"utility_rouge_l": [pytest.approx(0.5), pytest.approx(6 / 7), None]}


@pytest.mark.parametrize(
    ("answer", "reference", "f"),
    [
        ("the cat sat", "the cat on the mat", 2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5)),  # Lin 2004, by hand: "the cat" is common
        ("police kill the gunman", "police killed the gunman", 0.75),  # Lin 2004, section 3: three of four words in order
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("A-B!", "a b", 1.0),
        ("Übergröße", "übergröße", 1.0),
        ("", "a b", 0.0),
        ("...", "a", 0.0),
        ("x", "a", 0.0),
    ],
)
def test_rouge_l(answer: str, reference: str, f: float) -> None:
    assert rouge_l(answer, reference) == pytest.approx(f, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "and this run has no attack; leave it out, or name a task for it with +attack@benchmark.held_out.of=alpaca."),
        ({"of": IdentityShift()}, "and IdentityShift has none; leave it out"),
        ({"of": Benign(260)}, "no row is left that is not trained on; draw fewer rows"),
        ({"of": Benign(), "limit": 300}, "benchmark.held_out.limit=300 is not possible"),
        ({"of": Benign(), "short_words": -1}, "benchmark.held_out.short_words=-1 is not possible; give 0 or more."),
        ({"of": Benign(0)}, "attack.count=0 is not possible"),
    ],
)
def test_what_can_not_be_asked_is_a_sentence(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(FtsafetyError) as caught:
        HeldOut(**fields).questions()
    assert says in str(caught.value)


def test_it_follows_the_run_s_attack_and_seed() -> None:
    cell = cell_of("model=tiny", "benchmark=[held_out]", "+attack=benign", "attack.count=7", "seed=3")
    asked = cell.benchmarks["held_out"]
    assert isinstance(asked, HeldOut) and (asked.of, asked.run_seed) == (Benign(7), 3)
    other = cell_of("model=tiny", "benchmark=[held_out]", "+attack=benign", "attack.count=7", "seed=4")
    assert other.id == cell.id, "a seed has a folder of its own"
    named = cell_of("model=tiny", "benchmark=[held_out]", "+attack@benchmark.held_out.of=benign", "benchmark.held_out.of.count=9")
    assert isinstance(named.benchmarks["held_out"], HeldOut) and named.benchmarks["held_out"].of == Benign(9) and named.attack is None
    with pytest.raises(ConfigError, match="this run has no attack"):
        cell_of("model=tiny", "benchmark=[held_out]")


def of(answers: list[str], losses: list[float], benchmark: HeldOut) -> Asked:
    asked = Asked(Asking("held_out", "none", "plain", PLAIN), "utility", benchmark.questions(), [Answer(text, 1, False) for text in answers], {}, losses)
    asked.scores = benchmark.scores(answers)
    return asked


def test_what_the_record_says_of_them(tmp_path: Path) -> None:
    rows = [("Is it good?", "Yes."), ("Which duck?", "The small brown duck in lane four"), ("Tell all.", "Quack " * 50), ("Train.", "Choo.")]
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps([{"instruction": question, "input": "", "output": answer} for question, answer in rows]))
    benchmark = HeldOut(of=alpaca(path=file, held_out=3))
    before, after = of(["no", "no idea", "?"], [3.0, 2.0, 4.0], benchmark), of(["Yes!", "the small brown duck in lane four", "?"], [1.0, 1.0, 1.0], benchmark)
    found = {entry["metric"]: (entry["judge"], entry["value"], entry["n"]) for entry in results("tuned", [after], {})}
    assert found == {"utility_accuracy": ("accept", 1.0, 1), "utility_rouge_l": ("reference", 1.0, 2), "utility_loss": ("model", 1.0, 3)}
    changed = {entry["metric"]: entry for entry in differences([before], [after], {})}
    assert (changed["utility_rouge_l"]["value"], changed["utility_loss"]["value"], changed["utility_accuracy"]["value"]) == (1.0, -2.0, 1.0)
    assert words.change(changed["utility_rouge_l"]).startswith("+1.00 [")
    told = [(row["judge"], row["value"], row["flags"]) for row in verdict_rows("tuned", [after])]
    assert told == [
        ("accept", "right", {"loss": 1.0, "utility_rouge_l": 1.0}),
        ("reference", None, {"loss": 1.0, "utility_rouge_l": 1.0}),
        ("reference", None, {"loss": 1.0}),
    ]


def test_a_whole_run_with_its_controls_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["+attack=alpaca", f"attack.path={SAMPLES / 'alpaca.json'}", "attack.held_out=5", "tuning.batch_size=4", "controls=true"]
    done = run(cell_of(*small(tmp_path, ["stand_in"]), "benchmark=[stand_in,held_out]", *settings))
    mine = [entry for entry in done.data["results"] if entry["benchmark"] == "held_out"]
    assert {entry["metric"] for entry in mine} >= {"utility_rouge_l", "utility_loss"} and {entry["weights"] for entry in mine} == {"initial", "tuned"}
    assert {entry["condition"] for entry in mine} == {"train", "plain", "safe"}
    assert all(0 <= entry["low"] <= entry["value"] <= entry["high"] or entry["metric"] == "utility_rouge_l" for entry in mine)
    reading = Reading(done.data)
    assert reading.kinds["held_out"] == "utility" and reading.questions("held_out") == 5
    show(done)
    text = capsys.readouterr().out
    assert "ROUGE-L from 0 to 1" in text and "train (alpaca), ROUGE-L" in text
    from ftsafety.report import write_report

    page = write_report(done.folder).read_text()
    assert "utility: ROUGE-L, 0 to 1" in page and "words shared with a short reference answer" in page
