"""Each launcher for real: what becomes of good, failed and killed cells, how many threads they get, and two launchers on one store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftsafety.ledger import overview
from ftsafety.sweep import main as sweep
from tests.conftest import REPO, Command
from tests.helpers import small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LIBRARIES = {"processes": "hydra_plugins.hydra_joblib_launcher", "ray": "ray", "submitit": "hydra_plugins.hydra_submitit_launcher"}
LAUNCHERS = list(LIBRARIES)
PROBE = "tests.launcher.probe"


def asked(folder: Path, launcher: str, *more: str) -> list[str]:
    pytest.importorskip(LIBRARIES[launcher])
    return ["-m", f"hydra/launcher={launcher}", *small(folder, ["stand_in"]), "+attack=identity_shift", *more]


@pytest.fixture
def all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has said how many threads there are to be."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_good_and_failed_cells(launcher: str, command: Command, work: Path, all_cores: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = asked(work, launcher, f"model._target_={PROBE}.Threads", "tuning.epochs=20", "strategy.lr=1e30,1e-3")
    done = command("ftsafety", *words, cwd=work, timeout=500)
    assert done.returncode == 1, done.stderr
    assert "is not finite" in done.stderr and "Traceback" not in done.stderr, "a cell's failure in another process reaches the user as a sentence"
    found = {line.command.overrides[-1]: line for line in overview(work / "runs")}
    assert {name: (line.state, line.kind) for name, line in found.items()} == {
        "strategy.lr=1e+30": ("failed", "loss not finite"),
        "strategy.lr=0.001": ("done", ""),
    }
    threads = [file.read_text() for file in (work / "threads").iterdir()]
    assert set(threads) == {"1"}, f"two workers on {os.cpu_count()} cores"
    assert sweep(["status", str(work / "runs")]) == 1 and "1 done, 0 running, 1 failed, 0 planned" in capsys.readouterr().out
    made = (work / "runs" / str(found["strategy.lr=0.001"].folder) / "run.json").stat().st_mtime_ns
    again = command("ftsafety", *words[:-1], "strategy.lr=1e-3,2e-3", cwd=work, timeout=500)
    assert again.returncode == 0, again.stderr
    assert (work / "runs" / str(found["strategy.lr=0.001"].folder) / "run.json").stat().st_mtime_ns == made, "the same cell is not done again"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_cell(launcher: str, command: Command, work: Path) -> None:
    words = asked(work, launcher, f"model._target_={PROBE}.Killed,{PROBE}.Threads")
    done = command("ftsafety", *words, cwd=work, timeout=500)
    assert done.returncode == 1 and "the launcher stopped (" in done.stderr and "resume" in done.stderr and "Traceback" not in done.stderr, done.stderr
    killed = [line for line in overview(work / "runs") if f"model._target_={PROBE}.Killed" in line.command.overrides]
    assert [(line.state, line.kind) for line in killed] == [("failed", "died")]
    if launcher == "ray":
        assert [line.state for line in overview(work / "runs") if line not in killed] == ["done"], "the other has not suffered from it"


def test_two_launchers_share_a_store(command: Command, work: Path, all_cores: None) -> None:
    """At the same time, on the same cells: every artifact is made once, and the verdicts are those of a sweep by itself."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    running = {}
    for launcher in ("processes", "ray"):
        words = [*asked(work, launcher, "strategy.lr=1e-3,2e-3", "seed=0,1"), f"paths.runs={work}/{launcher}"]
        running[launcher] = subprocess.Popen(
            [sys.executable, "-m", "ftsafety", *words], cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    for launcher, process in running.items():
        said, _ = process.communicate(timeout=500)
        assert process.returncode == 0, f"{launcher}: {said}"
    alone = [*asked(work, "processes", "strategy.lr=1e-3,2e-3", "seed=0,1")[2:], f"paths.runs={work}/alone", f"paths.store={work}/alone_store"]
    assert command("ftsafety", "-m", *alone, cwd=work, timeout=500).returncode == 0
    told = {name: records(work / name) for name in ("processes", "ray", "alone")}
    assert len(told["alone"]) == 4 and told["processes"].keys() == told["ray"].keys() == told["alone"].keys()
    for cell, record in told["alone"].items():
        assert record["verdicts"] == told["processes"][cell]["verdicts"] == told["ray"][cell]["verdicts"]
        assert record["tuned"] == told["processes"][cell]["tuned"] == told["ray"][cell]["tuned"]
    makers: dict[str, list[str]] = {}
    for name in ("processes", "ray"):
        for cell, record in told[name].items():
            for stage in record["stages"]:
                makers.setdefault(stage["key"], []).extend([f"{name}:{cell}"] if not stage["reused"] else [])
    assert makers and {key: who for key, who in makers.items() if len(who) != 1} == {}


def records(runs: Path) -> dict[str, dict[str, Any]]:
    """Folder to verdicts, tuned weights and stages."""
    found = {}
    for file in sorted(runs.glob("*/seed=*/run.json")):
        data = json.loads(file.read_text())
        verdicts = [json.loads(line) for line in (file.parent / "verdicts.jsonl").read_text().splitlines()]
        found[str(file.parent.relative_to(runs))] = {"verdicts": verdicts, "tuned": data["tuned_digest"], "stages": data["stages"]}
    return found
