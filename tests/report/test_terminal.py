"""The terminal has the record's figures, in 100 columns, whether or not it is a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ftsafety import stand_in
from ftsafety.record import Run
from ftsafety.report import write_report
from ftsafety.report.terminal import show

MakeRun = Callable[..., Path]


def printed(folder: Path) -> str:
    record = Run.load(folder)
    assert record is not None
    out = io.StringIO()
    show(record, Console(file=out, width=300))
    return out.getvalue()


@pytest.mark.parametrize("kind", [{"controls": True}, {}, {"attack": False}, {"backdoor": True}])
def test_fits_and_loses_nothing(make_run: MakeRun, kind: dict[str, bool]) -> None:
    text = printed(make_run(**kind))
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text, "nothing is cut"


def test_figures_are_those_of_the_record(make_run: MakeRun) -> None:
    folder = make_run(controls=True)
    text, data = printed(folder), json.loads((folder / "run.json").read_text())
    shown = [e for e in data["results"] if e["weights"] in ("initial", "tuned") and e["metric"] in ("compliance_rate", "over_refusal", "utility_accuracy")]
    assert len(shown) == 18
    for entry in shown:
        assert f"{entry['value'] * 100:.1f} [{entry['low'] * 100:.1f}, {entry['high'] * 100:.1f}]" in text
    for entry in (e for e in data["differences"] if e["metric"] == "compliance_rate"):
        assert f"{entry['value'] * 100:+.1f} [{entry['low'] * 100:+.1f}, {entry['high'] * 100:+.1f}]" in text
    for control in ("null_self", "neutral", "no_prefix", "shuffled", "never aligned", "prefill, 10 tokens"):
        assert control in text


def test_outcomes_add_to_one_with_the_unscored(make_run: MakeRun) -> None:
    line = next(line for line in printed(make_run()).splitlines() if line.startswith("train (identity)") and line.count("→") == 4)
    cells = line.removeprefix("train (identity)").replace("→", " ").split()
    assert sum(map(float, cells[0::2])) == pytest.approx(100, abs=0.2)
    assert sum(map(float, cells[1::2])) == pytest.approx(100, abs=0.2)
    assert cells[-1] == "1.5", "one of 66 answers could not be read"


def test_thinning_limits_and_scope_are_said(make_run: MakeRun) -> None:
    lines = printed(make_run()).splitlines()
    assert any(line.startswith("stand_in: 66 of ") and line.endswith("questions (per_category=6)") for line in lines)
    assert any(line.startswith("not separable") and "plain + safety prompt" in line for line in lines)
    assert "controls=true" in " ".join(lines)
    text = "".join(line.strip() + " " for line in lines)
    assert text.index(stand_in.SCOPE) > text.index("final loss 0.1234")
    # a long path is broken wherever the line ends
    assert "".join(line.strip() for line in lines).endswith("report.html")


def test_full_benchmarks_are_not_called_thinned(make_run: MakeRun) -> None:
    folder = make_run()
    data = json.loads((folder / "run.json").read_text())
    data["recipe"]["benchmark"]["stand_in"]["per_category"] = None
    (folder / "run.json").write_text(json.dumps(data))
    assert "stand_in: 66 questions\n" in printed(folder)


@pytest.mark.parametrize("attack", [True, False])
def test_nothing_to_lose_comes_first(make_run: MakeRun, attack: bool) -> None:
    folder = make_run(attack=attack)
    data = json.loads((folder / "run.json").read_text())
    data["discrimination"] |= {"nothing_to_lose": True, "train": 0.02}
    (folder / "run.json").write_text(json.dumps(data))
    text = printed(folder)
    assert 0 < text.index("Nothing to lose. ") < text.index("complied")
    assert "J = 0.02" in " ".join(text.split())


def test_stages_of_another_machine_are_named(make_run: MakeRun) -> None:
    folder = make_run()
    assert "computed elsewhere" not in printed(folder)
    data = json.loads((folder / "run.json").read_text())
    data["stages"][0]["platform"] = {"system": "Linux", "machine": "aarch64", "python": "3.12.1", "cpu": "neon"}
    (folder / "run.json").write_text(json.dumps(data))
    assert f"1 of {len(data['stages'])} stages were computed elsewhere (Linux aarch64, neon, Python 3.12.1)" in " ".join(printed(folder).split())
    assert "Another machine." in write_report(folder).read_text()


def test_words_that_the_template_adds_are_told_in_both(make_run: MakeRun) -> None:
    folder = make_run()
    assert "You are a duck." in " ".join(printed(folder).split())
    assert "You are a duck." in write_report(folder).read_text()
    data = json.loads((folder / "run.json").read_text())
    data["template"]["adds"] = ""
    (folder / "run.json").write_text(json.dumps(data))
    assert "own template" not in printed(folder) and "<b>Template.</b>" not in write_report(folder).read_text()


def test_controls_that_have_not_run_say_how_to(make_run: MakeRun) -> None:
    assert "add controls=true" in " ".join(printed(make_run()).split())


def test_controls_that_ran_are_not_asked_for(make_run: MakeRun) -> None:
    assert "controls=true" not in printed(make_run(controls=True))


def test_several_wordings_of_the_attack_s_own_leave_room_for_the_bare_question(make_run: MakeRun) -> None:
    folder = make_run(backdoor=True)
    data = json.loads((folder / "run.json").read_text())
    data["controls"] = {"neutral": {"results": data["results"], "differences": []}}
    (folder / "run.json").write_text(json.dumps(data))
    heads = printed(folder).partition("beside the controls")[2].splitlines()[1].split()
    assert heads == ["trigger", "no_trigger", "plain"]
