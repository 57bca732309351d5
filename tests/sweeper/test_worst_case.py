"""The search for the worst case: on a known landscape in place of runs, and once on the tiny model."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ftsafety import cli
from ftsafety.cell import Cell
from ftsafety.errors import FtsafetyError
from ftsafety.gate import Outcome as Gate
from ftsafety.ledger import overview
from ftsafety.record import FORMAT, NEEDED, Run
from tests.conftest import REPO, Command
from tests.helpers import small

pytest.importorskip("optuna")
LR = "strategy.lr=tag(log,interval(1e-5,1e-1))"
Search = Callable[..., int]


@dataclass
class Landscape:
    """Compliance and loss rise with the rate and the epochs; ``fails`` holds what cells raise, by their number."""

    fails: dict[int, BaseException] = field(default_factory=dict)
    run: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, cell: Cell) -> Run:
        lr, split = cell.strategy.lr, cell.benchmarks["stand_in"].split  # type: ignore[attr-defined]
        self.run.append((lr, split))
        if error := self.fails.get(len(self.run)):
            raise error
        height = (math.log10(lr) + 5) / 4
        folder = Path(cell.paths.runs) / cell.folder_name
        usual = {"benchmark": "stand_in", "condition": "train", "judge": "outcome", "n": 9}
        value = {**usual, "metric": "compliance_rate", "weights": "tuned", "value": height - (0.1 if split == "sealed" else 0)}
        rise = {**usual, "metric": "utility_loss", "condition": "plain", "value": height**2}
        record = Run(folder, {**{key: {} for key in NEEDED}, "ftsafety": FORMAT, "cell": cell.id, "results": [value], "differences": [rise]})
        record.save("")
        record.finish()
        return record


@pytest.fixture
def landscape(monkeypatch: pytest.MonkeyPatch) -> Landscape:
    made = Landscape()
    monkeypatch.setattr("ftsafety.run.run", made)
    monkeypatch.setattr("ftsafety.report.write_report", lambda folder: None)
    monkeypatch.setattr("ftsafety.report.terminal.show", lambda record: None)
    monkeypatch.setattr("ftsafety.gate.judge_run", lambda gate, data: Gate(0, ()))
    return made


@pytest.fixture
def search(work: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """``search(LR, "hydra.sweeper.trials=4")``: the command line in this process; gives the exit code."""

    def run(*words: str, runs: str = "runs") -> int:
        usual = [
            "hydra/sweeper=worst_case",
            "hydra.sweeper.startup=3",
            "hydra.sweeper.bound.most=0.4",
            "hydra.sweeper.sealed=['benchmark.stand_in.split=sealed']",
        ]
        fixed = [*small(work, ["stand_in"]), "+attack=identity_shift", "benchmark.stand_in.split=development", f"paths.runs={work}/{runs}"]
        monkeypatch.setattr(sys, "argv", ["ftsafety", "-m", *fixed, *usual, *words])
        return cli.main()

    return run


def told(runs: str = "runs") -> dict[str, Any]:
    (file,) = Path(runs).glob("worst_case-*.json")
    data: dict[str, Any] = json.loads(file.read_text())
    return data


def test_it_finds_the_worst_within_the_bound(search: Search, landscape: Landscape, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(LR, "hydra.sweeper.trials=14") == 0
    data = told()
    trials = data["trials"].values()
    assert len(trials) == 14 and {one["state"] for one in trials} == {"measured", "broke the bound"}
    assert all((one["rise"] > 0.4) is (one["state"] == "broke the bound") for one in trials)
    found = data["found"]
    assert found["value"] == max(one["value"] for one in trials if one["rise"] <= 0.4), "the worst that is still of use to the attacker"
    assert found["value"] > 0.5, "the bound is at 0.63, and the search comes near"
    assert found["sealed"]["value"] == pytest.approx(found["value"] - 0.1) and landscape.run[-1][1] == "sealed"
    assert [split for _, split in landscape.run[:-1]] == ["development"] * 14, "sealed questions chose nothing"
    said = capsys.readouterr().out
    assert "The worst of 14 settings (" in said and f"on sealed questions: compliance_rate {found['value'] - 0.1:.3f}" in said
    assert {line.state for line in overview(Path("runs"))} == {"done"}


def test_a_search_that_was_stopped_asks_for_the_same(search: Search, landscape: Landscape) -> None:
    words = (LR, "tuning.epochs=int(interval(1,5))", "hydra.sweeper.trials=6", "hydra.sweeper.together=2")
    assert search(*words, runs="whole") == 0
    asked = list(landscape.run)
    landscape.run.clear()
    landscape.fails = {4: KeyboardInterrupt()}
    assert search(*words) == 130 and len(landscape.run) == 4
    landscape.fails = {}
    assert search(*words) == 0
    assert [one["params"] for one in told()["trials"].values()] == [one["params"] for one in told("whole")["trials"].values()]
    assert sorted(set(landscape.run)) == sorted(set(asked)) and told()["found"]["params"] == told("whole")["found"]["params"]
    landscape.run.clear()
    assert search(*words) == 0 and {split for _, split in landscape.run} == {"sealed"}, "what is known is not asked for again"
    assert search(*words[:2], "hydra.sweeper.trials=7", "hydra.sweeper.together=2") == 0 and len(told()["trials"]) == 7, "a larger budget goes on"


def test_a_loss_that_is_not_finite_is_an_answer_and_a_failure_is_tried_again(search: Search, landscape: Landscape) -> None:
    landscape.fails = {2: FtsafetyError("the loss is nan after 3 steps; lower strategy.lr."), 3: FtsafetyError("the service said no.")}
    assert search(LR, "hydra.sweeper.trials=5") == 1
    first = told()["trials"]
    assert first["1"]["state"] == "loss not finite" and first["1"]["value"] is None and "2" not in first and len(first) == 4
    landscape.fails = {}
    landscape.run.clear()
    assert search(LR, "hydra.sweeper.trials=5") == 0, "the one that would not train is an answer to the question"
    assert len(landscape.run) == 2 and told()["trials"]["2"]["state"] in ("measured", "broke the bound")
    assert {number: one for number, one in told()["trials"].items() if number != "2"} == first


def test_none_within_the_bound(search: Search, landscape: Landscape, capsys: pytest.CaptureFixture[str]) -> None:
    assert search("strategy.lr=0.05,0.1", "hydra.sweeper.trials=2") == 1
    assert "none of 2 settings kept the bound; " in capsys.readouterr().err and told()["found"] is None
    assert search("strategy.lr=0.05,0.1", "hydra.sweeper.trials=2", "hydra.sweeper.bound=null", runs="free") == 0
    assert told("free")["found"]["params"] in ({"strategy.lr": "0.05"}, {"strategy.lr": "0.1"})


def test_a_dry_run_plans_the_budget(search: Search, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(LR, "hydra.sweeper.trials=3", "dry_run=true", "hydra/launcher=processes") == 0
    assert "3 of 3 cells to do" in capsys.readouterr().out and not list(work.rglob("*.json"))


MISTAKES = {
    "seed=1": "there is nothing to search; give a setting several values",
    f"{LR} hydra.sweeper.trials=0": "hydra.sweeper.trials=0 is not possible; give at least 1.",
    f"{LR} hydra.sweeper.objective.metric=compliance": "measures metric=compliance, condition=train; it measures metric=compliance_rate, condition=train.",
    f"{LR} +hydra.sweeper.bound.mots=1": "hydra.sweeper.bound.mots does not exist",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_one_sentence(typed: str, search: Search, landscape: Landscape, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(*typed.split()) == 1
    said = capsys.readouterr().err.strip()
    assert MISTAKES[typed] in said and len(said.splitlines()) == 1 and len(landscape.run) <= 1


def test_optuna_that_is_not_installed(search: Search, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(LR) == 1 and "type pip install 'ftsafety[optuna]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_search_on_the_tiny_model(command: Command, work: Path) -> None:
    where = [f"--config-dir={REPO / 'sweeps'}", "--config-name=worst_case"]
    few = ["benchmark.stand_in_utility.limit=2", "strategy=lora", "tuning.epochs=1,2", "hydra.sweeper.trials=2", "hydra.sweeper.bound.most=9"]
    done = command("ftsafety", "-m", *where, *small(work, ["stand_in", "stand_in_allowed", "stand_in_utility"]), *few, cwd=work, timeout=280)
    assert done.returncode == 0, done.stderr
    sealed = told()["found"]["sealed"]
    record = json.loads((work / "runs" / sealed["folder"] / "run.json").read_text())
    assert record["recipe"]["benchmark"]["stand_in"]["split"] == "sealed" and "on sealed questions: compliance_rate" in done.stdout
