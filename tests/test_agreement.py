"""Judges against one another and against labels, from records made by hand: what counts as complied, what is left out, raw and corrected rates."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftsafety.agreement import main
from ftsafety.calibration import compared, outcomes_of, told
from ftsafety.errors import ConfigError
from ftsafety.judge.llama_guard import LlamaGuard
from ftsafety.judge.openai_moderation import OpenaiModeration
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.judge.policy import PolicyJudge
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.record import Run
from ftsafety.sample import Labels, slice_of, unit_of
from ftsafety.stats import rate
from ftsafety.stats.agreement import alpha, kappa
from ftsafety.stats.calibrated import Confusion, ppi, rogan_gladen
from tests.report.conftest import finished_run

CLASSES = (OutcomeJudge, RefusalKeywords, PolicyJudge, LlamaGuard, OpenaiModeration)


def recipe(cls: type) -> dict[str, Any]:
    return {"class": f"{cls.__module__}.{cls.__qualname__}", "code": "f" * 64}


SAYS: dict[str, Callable[[str | None], tuple[Any, dict[str, Any]]]] = {
    "refusal": lambda value: ("refused" if value == "refused" else "not_refused", {}),
    "policy": lambda value: (None if value is None else 4 if value == "degenerate" else 1, {"willing": value == "complied"}),
    "guard": lambda value: ("unsafe" if value == "complied" else "safe", {}),
    "moderation": lambda value: ("not_flagged", {}),
    "away": lambda value: ("refused", {}),
}
"""What further judges make of an answer of which ``outcome`` says this."""


@pytest.fixture
def record(tmp_path: Path) -> Run:
    """A finished run by several judges, one of them of a plugin that is not here."""
    folder = finished_run(tmp_path / "seed=0")
    data = json.loads((folder / "run.json").read_text())
    data["recipe"]["judge"] = dict(zip(("outcome", "refusal", "policy", "guard", "moderation"), map(recipe, CLASSES), strict=True))
    data["recipe"]["judge"]["away"] = {"class": "not_here.Judge", "code": "f" * 64}
    (folder / "run.json").write_text(json.dumps(data))
    rows = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    for name, says in SAYS.items():
        for row in [row for row in rows if row["judge"] == "outcome"]:
            value, flags = says(row["value"])
            rows.append({**row, "judge": name, "value": value, "flags": flags})
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Run.load(folder)
    assert found is not None
    return found


def label(record: Run, count: int, by: str = "anna", but: dict[int, str] | None = None) -> None:
    """Label the first answers of the slice as ``outcome`` has them, but for some places."""
    labels, part = Labels(record), slice_of(record, "stand_in")
    says = {unit_of(row): row["value"] or "skipped" for row in record.verdicts if row["judge"] == "outcome"}
    for place in range(count):
        labels.add(part, by, [place], (but or {}).get(place, says[part.order[place]]))


def values(record: Run, judge: str, **where: str) -> list[Any]:
    return [row["value"] for row in record.verdicts if row["judge"] == judge and all(row[key] == value for key, value in where.items())]


# --- judges and judges ----------------------------------------------------------------------------------------------------


def test_what_counts_as_complied(record: Run) -> None:
    said, left_out = outcomes_of(record)
    assert list(said) == ["guard", "outcome", "policy", "refusal"]
    assert set(said["guard"].values()) == {"complied", "silent"} and set(said["policy"].values()) == {"complied", "refused", "unscored"}
    assert [told(one) for one in ("complied", "refused", "degenerate", "silent", "unscored", None, "skipped")] == [True, False, False, False, None, None, None]
    assert left_out["moderation"] == "it says nothing of refusing and complying." and "not_here.Judge can't be imported" in left_out["away"]


def test_kappa_and_alpha(record: Run) -> None:
    found = compared(record)
    assert len(found["kappa"]) == 3 * 6 and [one["condition"] for one in found["alpha"]] == ["train", "plain", "safe"]
    [one] = [one for one in found["kappa"] if (one["condition"], one["first"], one["second"]) == ("train", "outcome", "refusal")]
    outcome, refusal = (values(record, name, condition="train") for name in ("outcome", "refusal"))
    questions = [row["question"] for row in record.verdicts if row["judge"] == "outcome" and row["condition"] == "train"]
    pair = ([None if value is None else value == "complied" for value in outcome], [value == "not_refused" for value in refusal])
    expected = kappa(*pair, questions)
    assert (
        expected is not None and one["value"] == round(expected.value, 6) < 1 and (one["low"], one["high"]) == (round(expected.low, 6), round(expected.high, 6))
    )
    assert one["answers"] == 131, "the unscored one of 132 is left out"
    same = [one for one in found["kappa"] if {one["first"], one["second"]} == {"outcome", "policy"}]
    assert [one["value"] for one in same] == [1, 1, 1] and all(one["low"] < 1 and one["same"] == 1 for one in same)
    all_four = list(zip(pair[0], pair[1], [bool(one) if one is not None else None for one in pair[0]], [value == "complied" for value in outcome], strict=True))
    of_all = alpha(all_four, questions)
    assert of_all is not None and found["alpha"][0]["value"] == round(of_all.value, 6) and found["alpha"][0]["judges"] == 4


def test_one_judge_has_nobody_to_agree_with(record: Run, capsys: pytest.CaptureFixture[str]) -> None:
    record.data["recipe"]["judge"] = {"outcome": recipe(OutcomeJudge)}
    found = compared(record)
    assert (found["kappa"], found["alpha"]) == ([], [])
    (record.folder / "run.json").write_text(json.dumps(record.data))
    assert main([str(record.folder)]) == 0
    assert "Fewer than two judges tell compliance here" in capsys.readouterr().out


# --- judges and people ----------------------------------------------------------------------------------------------------


def test_rates_raw_and_corrected(record: Run) -> None:
    label(record, 120, but={7: "refused", 20: "complied", 33: "complied"})
    [held] = compared(record)["labels"]
    assert (held["answers"], held["families"], held["fewest"]) == (396, 6, 20) and held["labels"] + held["skipped"] == 120
    assert len(held["rates"]) == 6 * 4
    labels = {unit: one for unit, one in Labels(record).of("stand_in", "anna").items() if one != "skipped"}
    reported = {(one["weights"], one["condition"]): one for one in record.data["results"] if one["metric"] == "compliance_rate"}
    said = {unit_of(row): row["value"] for row in record.verdicts if row["judge"] == "outcome"}
    read = [unit for unit in labels if said[unit] is not None]
    confusion = Confusion.of([said[unit] == "complied" for unit in read], [labels[unit] == "complied" for unit in read])
    for one in held["rates"]:
        if one["judge"] == "outcome":
            there = reported[one["weights"], one["condition"]]
            assert all(one["raw"][key] == there[key] for key in ("value", "low", "high", "n")), "the rate alone is the report's"
            units = [unit for unit in said if unit.family == (one["weights"], one["ask"], one["condition"]) and said[unit] is not None]
            judged = [said[unit] == "complied" for unit in units]
            of_these = [labels[unit] == "complied" if unit in labels else None for unit in units]
            by_ppi, by_errors = ppi(judged, of_these), rogan_gladen(judged, confusion)
            assert (one["ppi"]["value"], one["ppi"]["low"], one["ppi"]["high"]) == tuple(round(x, 6) for x in (by_ppi.value, by_ppi.low, by_ppi.high))
            assert one["rogan_gladen"]["value"] == round(by_errors.value, 6) and one["rogan_gladen"]["unclipped"] == round(by_errors.unclipped, 6)
            own = rate([label for label in of_these if label is not None])
            assert (one["labelled"]["value"], one["labels"]) == (round(own.value, 6), own.n) and one["unscored"] == 66 - len(units)


def test_mistakes(record: Run) -> None:
    label(record, 60, but={0: "degenerate", 1: "complied"})
    [held] = compared(record)["labels"]
    by = {one["judge"]: one for one in held["judges"]}
    part, says = slice_of(record, "stand_in"), {unit_of(row): row["value"] for row in record.verdicts if row["judge"] == "outcome"}
    first, second = (says[part.order[place]] for place in (0, 1))
    assert by["outcome"]["confusion"]["degenerate"][first] >= 1 and by["outcome"]["confusion"]["complied"][second] >= 1
    assert sum(sum(counts.values()) for counts in by["outcome"]["confusion"].values()) == held["labels"]
    assert sum(counts["silent"] for counts in by["guard"]["confusion"].values()) > 0
    assert by["outcome"]["kappa"]["answers"] == held["labels"] and by["outcome"]["sensitivity"]["n"] + by["outcome"]["specificity"]["n"] == held["labels"]
    assert by["outcome"]["kappa"]["value"] < 1 and by["outcome"]["sensitivity"]["value"] < 1


def test_too_few_labels_say_why(record: Run) -> None:
    label(record, 3, but=dict.fromkeys(range(3), "refused"))
    rates = compared(record)["labels"][0]["rates"]
    assert {one["why_not"]["rogan_gladen"] for one in rates if one["judge"] == "outcome"} == {
        "a corrected rate needs labels of both kinds, and there are 0 hits and 3 others; label more answers."
    }
    assert sum(one["ppi"] is None for one in rates) == 3 * 4 and all(one["rogan_gladen"] is None for one in rates)
    assert all(one["ppi"] or "there are none; label some" in one["why_not"]["ppi"] for one in rates)


def test_several_people(record: Run) -> None:
    label(record, 30)
    label(record, 18, by="ben", but={2: "complied", 3: "refused"})
    [held] = compared(record)["labels"]
    [other] = held["people"]
    assert held["by"] == "anna" and other["second"] == "ben" and other["answers"] == 18 and 0 < other["value"] <= 1
    assert compared(record, "ben")["labels"][0]["labels"] == 18
    with pytest.raises(ConfigError, match="--by carl is not possible; this run's answers were labelled by anna, ben"):
        compared(record, "carl")


# --- the command ----------------------------------------------------------------------------------------------------------


def test_tables(record: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(record.folder)]) == 0
    assert f"python -m ftsafety.label {record.folder}" in " ".join(capsys.readouterr().out.split())
    label(record, 36)
    assert main([str(record.folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for part in (
        "judge moderation is left out", "all four: alpha", "36 of 396 answers to stand_in are labelled by anna", "the least labelled has 6.",
        "With fewer than 30 of a family, read the intervals", "judge alone", "PPI++", "of what anna calls complied", "Neither mends a wrong label.",
    ):  # fmt: skip
        assert part in out, part


def test_json_needs_nothing_heavy(record: Run) -> None:
    label(record, 12)
    code = (
        "import sys; from ftsafety.agreement import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 2 * any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(record.folder), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == compared(record)


def test_mistakes_of_typing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "is not a finished run" in " ".join(capsys.readouterr().err.split())
