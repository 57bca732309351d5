"""The plan of a run: steps and tokens as the run then has them, nothing spent, and cells of a sweep added up."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftsafety.plan import Plan, Stage, _clock, plan, show
from ftsafety.run import run
from tests.conftest import Command
from tests.helpers import small_cell


def stage(made: Plan, name: str) -> Stage:
    return next(stage for stage in made.stages if stage.name == name)


@pytest.mark.parametrize("more", [[], ["mitigation=[safety_mixing]"], ["strategy=full", "tuning.epochs=3", "tuning.batch_size=4"]], ids=str)
def test_steps_tokens_and_answers_are_those_of_the_run(tmp_path: Path, more: list[str]) -> None:
    cell = small_cell(tmp_path, "+attack=identity_shift", *more)
    made = plan(cell)
    assert not made.finished and not (tmp_path / "runs").exists() and not (tmp_path / "store").exists(), "nothing is written"
    done = run(cell)
    tuned = next(entry for entry in done.data["stages"] if entry["stage"] == "tune")
    assert (stage(made, "tune").steps, stage(made, "tune").tokens) == (tuned["steps"], tuned["tokens"])
    asked = sum(entry["answers"] for entry in done.data["stages"] if entry["stage"] == "answer")
    assert made.answers == asked
    assert plan(cell).finished


def test_states_and_controls_are_planned(tmp_path: Path) -> None:
    alone = plan(small_cell(tmp_path, "+attack=identity_shift"))
    assert [stage.name for stage in alone.stages] == ["tune", "initial", "tuned"]
    mitigated = plan(small_cell(tmp_path, "+attack=identity_shift", "mitigation=[system_prompt]"))
    assert [stage.name for stage in mitigated.stages] == ["tune", "initial", "initial_mitigated", "tuned"]
    controlled = plan(small_cell(tmp_path, "+attack=identity_shift", "controls=true"))
    names = {stage.name for stage in controlled.stages}
    assert {"null_self: tune", "neutral: tuned", "shuffled: tuned", "no_prefix: tune"} <= names and "null_self: initial" not in names


def test_models_without_weights_and_without_attack(tmp_path: Path) -> None:
    constant = plan(small_cell(tmp_path, "model=refuse_all"))
    assert [stage.name for stage in constant.stages] == ["initial"] and constant.operations == 0 and constant.answers > 0
    assert plan(small_cell(tmp_path)).steps == 0


def test_memory_grows_with_what_moves_and_with_the_batch(tmp_path: Path) -> None:
    def tuning(*more: str) -> Stage:
        return stage(plan(small_cell(tmp_path, "+attack=identity_shift", *more)), "tune")

    assert tuning("strategy=full").gib > tuning("strategy=lora").gib
    assert tuning("tuning.micro_batch=10").gib > tuning("tuning.micro_batch=1").gib
    assert tuning("tuning.epochs=4").operations == pytest.approx(2 * tuning("tuning.epochs=2").operations)


def test_show_adds_up_what_is_left(tmp_path: Path) -> None:
    cells = [Plan("a", tmp_path / "a", True, [Stage("tune", steps=5)]), Plan("b", tmp_path / "b", False, [Stage("tune", steps=7), Stage("tuned", answers=3)])]
    console = Console(width=120, record=True, file=io.StringIO())
    show(cells, console)
    text = console.export_text()
    assert "1 of 2 cells to do: 7 optimiser steps and 3 answers at most" in text and "finished" in text


@pytest.mark.parametrize(("seconds", "says"), [(0.0, ""), (0.2, "about 1 s"), (89, "about 89 s"), (600, "about 10 min"), (7200, "about 2.0 h")])
def test_clock(seconds: float, says: str) -> None:
    assert _clock(seconds) == says


def test_the_command_line_plans_a_sweep(command: Command, tmp_path: Path) -> None:
    more: list[Any] = ["model=tiny", f"paths.runs={tmp_path}/runs", f"paths.store={tmp_path}/store", "dry_run=true"]
    done = command("ftsafety", "-m", "+attack=identity_shift", "seed=0,1,2", *more)
    assert done.returncode == 0, done.stderr
    assert "3 cells" in done.stdout and "60 optimiser steps" in done.stdout
    assert [item for item in (tmp_path / "runs").iterdir() if item.is_dir()] == [], "Hydra's own note of the sweep, and no cell"
