"""What launchers' own errors are told as, and what needs no launcher."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

from ftsafety import cli
from ftsafety.errors import FtsafetyError
from ftsafety.launcher.ray import RayLauncher
from ftsafety.launcher.trouble import trouble
from ftsafety.ledger import overview
from ftsafety.settings import Root
from tests.helpers import launch_in_children, small

CONF = Path(__file__).resolve().parents[2] / "conf" / "hydra" / "launcher"
OPTIONS = sorted(file.stem for file in CONF.glob("*.yaml"))
ABSENT = "Unknown plugin class : 'hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher'"
Run = Callable[..., int]


@pytest.fixture
def ftsafety(work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``ftsafety("-m", "seed=0,1")``: the command line in this process, small; gives the exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ftsafety", *arguments, *small(work, ["stand_in"])])
        return cli.main()

    return run


def composed(*overrides: str) -> Any:
    ConfigStore.instance().store(name="root_schema", node=Root)
    with initialize_config_module("ftsafety.conf", version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_says_how_to_type_it_and_names_its_class(option: str) -> None:
    assert f"hydra/launcher={option} " in (CONF / f"{option}.yaml").read_text()
    module, _, name = composed(f"hydra/launcher={option}").hydra.launcher["_target_"].rpartition(".")
    if module.startswith("hydra_plugins.hydra_"):
        pytest.importorskip(module)
    assert hasattr(import_module(module.removeprefix("hydra_plugins.") if "ftsafety" in module else module), name)


def test_one_that_is_not_installed() -> None:
    assert trouble(RuntimeError(ABSENT)) == ("this hydra/launcher needs hydra-joblib-launcher, which is not installed; type pip install 'ftsafety[joblib]'.")
    assert trouble(RuntimeError("shapes differ")) is None


def test_ray_that_is_not_installed(ftsafety: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ftsafety("-m", "hydra/launcher=ray", "seed=0,1") == 1
    assert capsys.readouterr().err.strip() == "hydra/launcher=ray needs ray, which is not installed; type pip install 'ftsafety[ray]'."


@pytest.mark.parametrize(
    ("fails", "said", "starts"),
    [(0, "", 1), (2, "The current node timed out during startup.", 3), (3, "The current node timed out during startup.", 3), (1, "no such address", 1)],
)
def test_a_cluster_that_is_slow_to_start(fails: int, said: str, starts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    tried: list[str] = []

    def start(address: str, **_: Any) -> None:
        tried.append(address)
        if len(tried) <= fails:
            raise Exception(said)

    monkeypatch.setattr(ray, "init", start)
    launcher = RayLauncher(address=None, num_cpus=1, num_gpus=0)
    with pytest.raises(Exception, match=said) if fails == starts else nullcontext():
        launcher.connect(ray)
    assert tried == ["local"] * starts


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("joblib.externals.loky.process_executor", "TerminatedWorkerError"),
        ("ray.exceptions", "WorkerCrashedError"),
        ("submitit.core.utils", "UncompletedJobError"),
    ],
)
def test_a_process_that_died(module: str, name: str) -> None:
    pytest.importorskip(module.partition(".")[0])
    said = trouble(getattr(import_module(module), name)())
    assert said and said.startswith(f"the launcher stopped ({name}: ") and "ftsafety.sweep status" in said


def test_a_dry_run_needs_no_launcher(ftsafety: Run, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ftsafety("-m", "hydra/launcher=processes", "seed=0,1", "dry_run=true") == 0
    assert "2 of 2 cells to do" in capsys.readouterr().out and not list(work.rglob("*.json"))


def test_why_a_cell_failed_elsewhere_is_told_here(ftsafety: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    launch_in_children(monkeypatch)

    def run(cell: Any) -> Any:
        raise FtsafetyError("the rows are blue.")

    monkeypatch.setattr("ftsafety.run.run", run)
    assert ftsafety("-m", "seed=0") == 1
    (line,) = overview(Path("runs"))
    assert capsys.readouterr().err.strip() == f"{line.folder}: the rows are blue."


def test_what_slurm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    told: list[str] = []

    def map_array(self: Any, *_: Any) -> list[Any]:
        executor = self._executor
        executor.update_parameters(**{})
        told.append(executor._make_submission_file_text("python cell", "uid"))
        return []

    monkeypatch.setattr(submitit.AutoExecutor, "map_array", map_array)
    from hydra.types import HydraContext
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

    config = composed("hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=1", f"paths.runs={tmp_path}")
    chosen = {key: value for key, value in config.hydra.launcher.items() if key != "_target_"}
    launcher = SlurmLauncher(**{**chosen, "submitit_folder": str(tmp_path / "%j")})
    launcher.setup(hydra_context=HydraContext(config_loader=None, callbacks=None), task_function=lambda _: None, config=config)  # type: ignore[arg-type]
    launcher.launch([["seed=0"], ["seed=1"]], 0)
    directives = {line.removeprefix("#SBATCH --") for line in told[0].splitlines() if line.startswith("#SBATCH --")}
    assert {"partition=gpu", "gpus-per-node=1", "cpus-per-task=4", "mem=32GB", "time=240", "job-name=ftsafety"} <= directives
