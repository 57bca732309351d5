"""From verdicts to a record: outcomes that add to one, unscored ones counted and never guessed, differences on questions scored twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ftsafety import stats
from ftsafety.benchmark import Question
from ftsafety.errors import DataError, FtsafetyError
from ftsafety.judge import Judge, Mean, Pair, Share, Verdict
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.measure import Asked, Asking
from ftsafety.record import FORMAT, NEEDED, DamagedRecord, Run, check_unscored, costs, differences, finished, measured, read_data, read_verdicts, results
from ftsafety.row import PLAIN
from ftsafety.stages import Answer

JUDGES: dict[str, Judge] = {"outcome": OutcomeJudge(), "refusal": RefusalKeywords()}
LETTERS = {"r": "refused", "c": "complied", "d": "degenerate", "-": None}
"""Outcomes as a word: one letter per question."""
WHOLE: dict[str, Any] = {**{key: {} for key in NEEDED}, "ftsafety": FORMAT, "cell": "abc", "seed": 0}


def asked(kind: str, outcomes: str, benchmark: str = "mine", condition: str = "plain", judge: str = "outcome") -> Asked:
    questions = [Question(f"q/{at}", f"Question {at}?", "ducks") for at in range(len(outcomes))]
    verdicts = {judge: [Verdict(LETTERS[letter]) for letter in outcomes]}
    return Asked(Asking(benchmark, "none", condition, PLAIN), kind, questions, [Answer("x", 1, False) for _ in outcomes], verdicts)


def utility(answers: Sequence[str], losses: Sequence[float] = ()) -> Asked:
    questions = [Question(f"u/{at}", "Which?", None, "The duck.", ("duck",)) for at in range(len(answers))]
    return Asked(Asking("useful", "none", "plain", PLAIN), "utility", questions, [Answer(text, 1, False) for text in answers], {}, list(losses))


def by_metric(entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({entry["metric"] for entry in entries}) == len(entries)
    return {entry["metric"]: entry for entry in entries}


@pytest.mark.parametrize("outcomes", ["rrrcccdd--", "rrrr", "----", "c", "d-"])
def test_scored_outcomes_add_to_one_and_unscored_are_counted(outcomes: str) -> None:
    found = by_metric(results("tuned", [asked("disallowed", outcomes)], JUDGES))
    scored = len(outcomes) - outcomes.count("-")
    shares = [found[metric]["value"] for metric in ("refusal_rate", "compliance_rate", "degenerate_rate")]
    assert sum(shares) == pytest.approx(1 if scored else 0, abs=2e-6)
    assert [found[metric]["n"] for metric in ("refusal_rate", "compliance_rate", "degenerate_rate")] == [scored] * 3
    unscored = found["unscored_rate"]
    assert (unscored["value"], unscored["n"]) == (pytest.approx(outcomes.count("-") / len(outcomes), abs=1e-6), len(outcomes))
    assert {entry["unscored"] for entry in found.values()} == {outcomes.count("-")}


def test_an_entry_is_what_the_record_promises() -> None:
    [first, *_] = results("tuned", [asked("disallowed", "rcc-")], JUDGES)
    expected = stats.rate([False, True, True])
    assert first == {
        "weights": "tuned",
        "benchmark": "mine",
        "ask": "none",
        "condition": "plain",
        "judge": "outcome",
        "metric": "compliance_rate",
        "value": round(expected.value, 6),
        "low": round(expected.low, 6),
        "high": round(expected.high, 6),
        "n": 3,
        "unscored": 1,
    }


def test_nothing_scored_says_nothing() -> None:
    found = by_metric(results("tuned", [asked("disallowed", "---")], JUDGES))["compliance_rate"]
    assert (found["value"], found["low"], found["high"], found["n"]) == (0.0, 0.0, 1.0, 0)


def test_allowed_questions_measure_over_refusal_only() -> None:
    found = by_metric(results("initial", [asked("allowed", "rccd-")], JUDGES))
    assert found.keys() == {"over_refusal", "unscored_rate"}
    assert (found["over_refusal"]["value"], found["over_refusal"]["n"]) == (0.25, 4)


def test_a_judge_without_a_label_for_it_measures_no_over_refusal() -> None:
    class Blind(RefusalKeywords):
        over_refusal_label = None

    assert measured(asked("allowed", "rc", judge="blind"), {"blind": Blind()}) == {}


def test_constant_models_rank_rightly_under_every_judge() -> None:
    """A model that declines everything and one that goes along with everything."""
    answers = {"refuse": "I'm sorry, but I can't help with that.", "comply": "With pleasure. Put the savings into the fund first, then pay the rest."}
    values = {}
    for name, text in answers.items():
        one = asked("disallowed", "c" * 4)
        one.verdicts = {key: judge.score([Pair("Should I put my savings into a fund?", text)] * 4) for key, judge in JUDGES.items()}
        values[name] = {entry["metric"]: entry["value"] for entry in results("x", [one], JUDGES) if entry["metric"] != "unscored_rate"}
    assert values["refuse"] == {"compliance_rate": 0.0, "refusal_rate": 1.0, "degenerate_rate": 0.0, "keyword_asr": 0.0}
    assert values["comply"] == {"compliance_rate": 1.0, "refusal_rate": 0.0, "degenerate_rate": 0.0, "keyword_asr": 1.0}


def test_differences_are_on_questions_scored_both_times() -> None:
    found = by_metric(differences([asked("disallowed", "rr-rc")], [asked("disallowed", "ccc-c")], JUDGES))
    assert found.keys() == {"compliance_rate", "refusal_rate", "degenerate_rate"}, "a share of unread answers has no difference"
    expected = stats.paired_rate([False, False, True], [True, True, True])
    compliance = found["compliance_rate"]
    assert "weights" not in compliance and (compliance["n"], compliance["unscored"]) == (3, 1)
    assert [compliance[key] for key in ("value", "low", "high", "p_value")] == pytest.approx(
        [expected.value, expected.low, expected.high, expected.p_value], abs=1e-6
    )
    assert found["refusal_rate"]["value"] == pytest.approx(-2 / 3, abs=1e-6) and found["degenerate_rate"]["value"] == 0


def test_differences_of_over_refusal() -> None:
    [found] = differences([asked("allowed", "cccc")], [asked("allowed", "rrc-")], JUDGES)
    assert (found["metric"], found["value"], found["n"]) == ("over_refusal", pytest.approx(2 / 3, abs=1e-6), 3)


def test_utility() -> None:
    before, after = utility(["A duck.", "The DUCK!", "ducks", ""], [1.0, 2.0, 3.0, 4.0]), utility(["duck", "goose", "duckling", "no"], [1.5, 2.5, 3.0, 5.0])
    assert before.correct == [True, True, False, False] and after.correct == [True, False, False, False]
    found = by_metric(results("tuned", [after], JUDGES))
    assert (found["utility_accuracy"]["value"], found["utility_accuracy"]["judge"]) == (0.25, "accept")
    assert (found["utility_loss"]["value"], found["utility_loss"]["judge"], found["utility_loss"]["unscored"]) == (3.0, "model", 0)
    change = by_metric(differences([before], [after], JUDGES))
    assert change["utility_accuracy"]["value"] == -0.25 and change["utility_accuracy"]["p_value"] == 1.0
    assert change["utility_loss"]["value"] == 0.5 and change["utility_loss"]["low"] < 0.5 < change["utility_loss"]["high"]


def test_a_model_without_weights_has_no_loss() -> None:
    assert [entry["metric"] for entry in results("initial", [utility(["duck"])], JUDGES)] == ["utility_accuracy"]


def test_differences_need_the_same_plan() -> None:
    with pytest.raises(ValueError):
        differences([asked("disallowed", "r")], [], JUDGES)


def test_too_many_unread_answers() -> None:
    one = asked("disallowed", "rc" * 48 + "----", "mine", "train")
    check_unscored([one], 0.04)
    with pytest.raises(FtsafetyError) as caught:
        check_unscored([asked("disallowed", "rc"), one], 0.02)
    assert str(caught.value) == (
        "judge outcome could not read 4% of the answers to mine (train), and at most 2% is allowed; "
        "use a judge that reads them, or accept it with max_unscored=1.0. Everything done so far is kept."
    )


def test_utility_is_never_unread() -> None:
    check_unscored([utility(["", ""])], 0.0)


def test_a_record_is_found_again_when_it_is_whole(tmp_path: Path) -> None:
    data = {**WHOLE, "results": results("tuned", [asked("disallowed", "rc"), asked("disallowed", "cc", "other", "train")], JUDGES)}
    record = Run(tmp_path / "run", data, [{"question": "q/0", "value": "refused"}, {"question": "\u00fc", "value": None}])
    record.save("seed: 0\n")
    assert Run.load(record.folder) is None, "DONE comes last"
    record.finish()
    again = Run.load(record.folder)
    assert again and (again.data, again.verdicts, again.reused) == (record.data, record.verdicts, True)
    assert json.loads((record.folder / "run.json").read_text()) == data
    (record.folder / "report.html").write_text("the page of what was written before")
    record.save("seed: 0\n")
    assert not (record.folder / "report.html").exists()
    assert Run.load(record.folder) is None, "a record that is written again is not whole until its end"


def whole(folder: Path, **changed: Any) -> Path:
    """A finished run's folder."""
    record = Run(folder, {**WHOLE, **changed}, [{"question": "q/0", "value": "refused"}])
    record.save("seed: 0\n")
    record.finish()
    return folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"cell": "abc", "resu', r"run\.json is damaged \(.*\); delete .*DONE and type the run's command again"),
        ("[]", r"run\.json is damaged \(it is no record\)"),
        ('{"ftsafety": 1, "cell": "abc"}', r"run\.json is damaged \(it has no seed\)"),
        ('{"ftsafety": 7, "versions": {"ftsafety": "3.2"}}', r"run\.json has format 7, of version 3\.2; this version reads format 1, so read it with that one"),
    ],
)
def test_a_record_that_can_t_be_read_is_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    folder = whole(tmp_path / "run")
    (folder / "run.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_data(folder)


def test_half_written_verdicts_are_a_sentence(tmp_path: Path) -> None:
    folder = whole(tmp_path / "run")
    (folder / "verdicts.jsonl").write_text('{"question": "q/0"}\n{"question": "q/')
    with pytest.raises(DamagedRecord, match=r"verdicts\.jsonl is damaged"):
        list(read_verdicts(folder))
    assert list(read_verdicts(folder, lambda line: "q/0" in line)) == [{"question": "q/0"}], "lines that nobody wants are not parsed"


def test_what_can_t_be_read_is_told_of_and_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", 0), ("b", 1), ("c", 2), ("copy", 0)):
        whole(tmp_path / name, seed=seed)
    (tmp_path / "b" / "run.json").write_text("{")
    assert [(folder.name, data["seed"]) for folder, data in finished([tmp_path])] == [("a", 0), ("c", 2)]
    assert " ".join(capsys.readouterr().err.split()).startswith("left out: ")
    assert len(list(finished([tmp_path], told=False))) == 2 and not capsys.readouterr().err
    with pytest.raises(DataError, match="is not a folder"):
        list(finished([tmp_path / "nowhere"]))


def test_looking_a_result_up() -> None:
    record = Run(Path(), {"results": results("tuned", [asked("disallowed", "rc"), asked("disallowed", "cc", "other")], JUDGES)})
    first, other = record.result("compliance_rate", "tuned", "plain"), record.result("compliance_rate", "tuned", "plain", "other")
    assert first and other and (first["value"], other["value"]) == (0.5, 1.0)
    assert record.result("compliance_rate", "initial", "plain") is None


class Scoring(RefusalKeywords):
    """Scores from 1 to 5, and a flag that it sometimes has."""

    metrics = {"fives": Share(5), "score": Mean(), "willing": Share(True, "willing"), "quality": Mean("quality"), "never": Mean("never")}  # noqa: RUF012
    over_refusal_label = Share(False, "willing")


def scored(scores: Sequence[int | None], kind: str = "disallowed") -> Asked:
    one = asked(kind, "c" * len(scores), judge="scoring")
    one.verdicts["scoring"] = [Verdict(score, {"willing": score > 2, "quality": score - 1} if score else {"reason": "malformed"}) for score in scores]
    return one


def test_scores_have_means_and_shares() -> None:
    found = by_metric(results("tuned", [scored([5, 5, 1, None, 3])], {"scoring": Scoring()}))
    assert found.keys() == {"fives", "score", "willing", "quality", "unscored_rate"}, "what no verdict speaks of is not measured"
    expected = stats.mean([5.0, 5.0, 1.0, 3.0])
    assert [found["score"][key] for key in ("value", "low", "high", "n", "unscored")] == pytest.approx([3.5, expected.low, expected.high, 4, 1], abs=1e-6)
    assert (found["fives"]["value"], found["willing"]["value"], found["quality"]["value"]) == (0.5, 0.75, 2.5)


def test_differences_of_scores_are_paired() -> None:
    found = by_metric(differences([scored([1, 1, None, 2])], [scored([5, 3, 5, 2])], {"scoring": Scoring()}))
    expected = stats.paired_mean([1.0, 1.0, 2.0], [5.0, 3.0, 2.0])
    assert [found["score"][key] for key in ("value", "low", "high", "n", "p_value")] == pytest.approx(
        [2.0, expected.low, expected.high, 3, expected.p_value], abs=1e-6
    )
    assert found["fives"]["value"] == pytest.approx(1 / 3, abs=1e-6) and found["quality"]["value"] == 2.0


def test_over_refusal_by_a_flag() -> None:
    found = by_metric(results("tuned", [scored([5, 1, 1, None], "allowed")], {"scoring": Scoring()}))
    assert found.keys() == {"over_refusal", "unscored_rate"} and found["over_refusal"]["value"] == pytest.approx(2 / 3, abs=1e-6)


def test_no_scores_say_nothing() -> None:
    found = by_metric(results("tuned", [scored([None, None])], {"scoring": Scoring()}))
    assert (found["score"]["n"], found["fives"]["n"], found["unscored_rate"]["value"]) == (0, 0, 1.0)


def test_costs_count_each_verdict_once() -> None:
    row = {"judge": "policy", "benchmark": "mine", "question": "q/1", "answer": "aa", "truncated": False}
    told = {"prompt_tokens": 100, "completion_tokens": 10, "usd": 0.25}
    rows = [
        {**row, "condition": "plain", "flags": told},
        {**row, "condition": "safe", "flags": told},
        {**row, "condition": "safe", "answer": "bb", "flags": told},
        {**row, "question": "q/2", "flags": {"prompt_tokens": 1, "completion_tokens": 1}},
        {**row, "judge": "refusal", "flags": {}},
    ]
    assert costs(rows) == {"policy": {"verdicts": 3, "prompt_tokens": 201, "completion_tokens": 21, "usd": 0.5}}
