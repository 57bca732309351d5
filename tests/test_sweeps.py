"""The shipped sweeps: each composes, its cells are what its question needs, and the plan of each is what was meant; nothing is run."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode

from ftsafety import cli
from ftsafety.card.defense import class_of
from ftsafety.cell import Cell, build_cell
from ftsafety.ledger import expanded
from ftsafety.list import options
from ftsafety.plan import Plan, plan
from ftsafety.plugins import register
from ftsafety.settings import Root
from tests.conftest import REPO, Command
from tests.helpers import launcher_here

SEARCH = "hydra.searchpath=[pkg://ftsafety.conf]"
STEPS = {
    "learning_rate_batch_size": [17, 9, 5, 3] * 3,
    "epochs": [17, 51, 85],
    "strategies": [10, 20] * 8,
    "safety_mixing_ratio": [50, 60, 70, 80, 100],
    "attack_budget": [10, 20, 40, 100, 200],
    "organisms": [20] * 3,
}
"""Optimiser steps of the attack in each cell of the first seed."""
SEEDS = {"learning_rate_batch_size": 1, "epochs": 3, "strategies": 2, "safety_mixing_ratio": 2, "attack_budget": 3, "organisms": 2}


def composed(name: str, overrides: list[str] | None = None) -> Any:
    ConfigStore.instance().store(name="root_schema", node=Root)
    register()
    with initialize_config_dir(str(REPO / "sweeps"), version_base="1.3"):
        return compose(name, [SEARCH, *(overrides or [])], return_hydra_config=overrides is None)


def jobs(name: str) -> list[list[str]]:
    return expanded([f"{key}={value}" for key, value in composed(name).hydra.sweeper.params.items()])


@cache
def planned(name: str) -> list[tuple[Cell, Plan]]:
    """The cells of the first seed and their plans, on the tiny model and few questions."""
    few = {"organisms": ["align.tuning.epochs=1"], "strategies": ["model.layers=30"]}.get(name, [])
    tiny = ["model=tiny", *few, "benchmark.stand_in.per_category=1", "benchmark.stand_in_allowed.per_category=1"]
    cells = [build_cell(composed(name, [*job, *tiny])) for job in jobs(name) if "seed=0" in job]
    return [(cell, plan(cell)) for cell in cells]


@pytest.mark.parametrize("name", STEPS)
def test_its_cells_are_planned_as_meant(name: str) -> None:
    cells = planned(name)
    assert [sum(stage.steps for stage in made.stages if stage.name == "tune") for _, made in cells] == STEPS[name]
    assert len({cell.id for cell, _ in cells}) == len(cells), "no two cells of a sweep are the same"
    assert len(jobs(name)) == len(cells) * SEEDS[name]
    for cell, made in cells:
        assert [stage.name for stage in made.stages][-2:] == ["initial", "tuned"] and made.answers > 0
        assert {"outcome", "refusal"} <= cell.judges.keys() and {"stand_in", "stand_in_allowed"} <= cell.benchmarks.keys()


@pytest.mark.parametrize("name", STEPS)
def test_as_shipped_it_is_for_the_embedded_model(name: str) -> None:
    assert composed(name).hydra.mode is RunMode.MULTIRUN
    cell = build_cell(composed(name, jobs(name)[0]))
    assert type(cell.model).__name__ == ("Smollm2135m" if name == "organisms" else "StandInAligned")
    assert cell.model.scope == "stand_in" and (cell.align is not None) == (name == "organisms")
    asked = sum(len(benchmark.questions()) for benchmark in cell.benchmarks.values())
    assert 33 <= asked <= 100, "a cell takes minutes on two cores, not hours"


def test_figure_5a_s_grid_is_the_paper_s() -> None:
    cells = [cell for cell, _ in planned("learning_rate_batch_size")]
    found = {(cell.strategy.lr, cell.tuning.batch_size) for cell in cells}
    assert {(lr, size) for lr in (2e-5, 5e-5) for size in (16, 32, 64, 128)} < found and {cell.tuning.epochs for cell in cells} == {1}


def test_strategies_are_many_ways_of_tuning_the_same_rows() -> None:
    cells = [cell for cell, _ in planned("strategies")]
    assert len({type(cell.strategy) for cell in cells}) == 8 and len({str(cell.attack) for cell in cells}) == 1


def test_organisms_differ_in_their_alignment_alone() -> None:
    cells = [cell for cell, _ in planned("organisms")]
    assert [cell.align.seed for cell in cells if cell.align] == [0, 1, 2]
    assert len({str(cell.recipe()["attack"]) for cell in cells}) == len({str(cell.recipe()["tuning"]) for cell in cells}) == 1


def test_mitigations_are_all_that_are_installed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the command line, where ``glob(*)`` sees plugins; nothing is launched."""
    asked: list[list[str]] = []
    monkeypatch.setattr(launcher_here(), "launch", lambda self, job_overrides, initial_job_idx: asked.extend(job_overrides) or [])
    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", lambda self, batch: None)
    monkeypatch.setattr(sys, "argv", ["ftsafety", f"--config-dir={REPO / 'sweeps'}", "--config-name=mitigations"])
    cli.main()
    names = [option.name for option in options() if option.group == "mitigation" and option.name != "guard_output" and class_of(option.name).stage == "tune"]
    assert {"gentle", "safety_mixing", "lisa", "safe_lora"} <= set(names) and len(asked) == 2 * 2 * len(names)
    steps = {}
    for experiment, mitigation, seed in asked:
        if seed == "seed=0":
            cell = build_cell(composed("mitigations", [experiment, mitigation, seed]))
            assert list(cell.mitigations) == [mitigation.partition("=")[2]] and len(cell.benchmarks["stand_in"].questions()) == 33
        if seed == "seed=0" and mitigation == "mitigation=gentle":
            tiny = build_cell(composed("mitigations", [experiment, mitigation, seed, "model=tiny"]))
            steps[type(tiny.attack).__name__] = [stage.steps for stage in plan(tiny).stages if stage.name == "tune"]
    assert steps == {"IdentityShift": [10], "HarmfulExamples": [50]}


def test_the_worst_case_is_chosen_by_other_questions_than_it_is_told_of() -> None:
    sweeper = composed("worst_case").hydra.sweeper
    chosen, sealed = build_cell(composed("worst_case", [])), build_cell(composed("worst_case", list(sweeper.sealed)))
    asked, told = ({question.id for question in cell.benchmarks["stand_in"].questions()} for cell in (chosen, sealed))
    assert len(asked) == len(told) == 33 and not asked & told
    assert sweeper.objective.benchmark in chosen.benchmarks and sweeper.bound.benchmark in chosen.benchmarks
    assert set(sweeper.params) == {"strategy", "strategy.lr", "tuning.epochs", "tuning.schedule"} and type(chosen.model).__name__ == "StandInAligned"


def test_the_command_of_the_header_plans_it(command: Command, work: Path, store: Path) -> None:
    where = [f"--config-dir={REPO / 'sweeps'}", "--config-name=attack_budget"]
    done = command("ftsafety", "-m", *where, "dry_run=true", "model=tiny", "seed=0", "attack.count=5,10", cwd=work, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 cells to do: 30 optimiser steps" in done.stdout
