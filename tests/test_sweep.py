"""The sweep's command line: counts, reasons, the command that runs a cell again, going on, and exit codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftsafety.store.lease import identity
from ftsafety.sweep import UNFINISHED, main
from tests.conftest import Command
from tests.helpers import small

Write = Callable[..., None]


@pytest.fixture
def write(work: Path) -> Write:
    """``write("a", "done", kind="user")``: a cell's line in the ledger of ``runs``; a done one gets its run folder."""

    def entry(name: str, state: str, **fields: Any) -> None:
        folder = f"identity_shift-lora-none-{name}/seed=0"
        asked = {"head": ["--config-dir=sweeps", "--config-name=mine"], "overrides": [f"seed={name}"], "multirun": True, "cwd": str(work)}
        data = {
            "cell": name, "seed": 0, "folder": folder, "state": state, "kind": "", "reason": "", "code": None, "started": "2024-05-01T10:00:00+00:00",
            "seconds": 12.4, "asked": [asked], **fields,
        }  # fmt: skip
        file = work / "runs" / ".ledger" / f"{name}-0.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data))
        if state == "done":
            (work / "runs" / folder).mkdir(parents=True)
            (work / "runs" / folder / "DONE").write_text(name)

    return entry


def plan(*jobs: list[str]) -> None:
    file = Path("runs/.ledger/sweeps/one.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"head": ["--config-dir=sweeps", "--config-name=mine"], "cwd": str(Path.cwd()), "jobs": list(jobs)}))


def test_status(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("1", "done", code=0)
    write("2", "failed", code=1, kind="judge", reason="the service said no.")
    write("3", "running", **{**identity(), "host": "tower"})
    plan(["seed=1"], ["seed=2"], ["seed=3"], ["seed=4"])
    assert main(["status", "runs"]) == 1
    shown = capsys.readouterr().out
    assert "4 cells: 1 done, 1 running, 1 failed, 1 planned." in shown
    assert "judge: the service said no." in shown and "on tower since 2024-05-01" in shown and "never begun" in shown
    assert "none-1/seed=0" not in shown, "what is done is only counted"
    assert main(["status", "runs", "--all"]) == 1 and "12 s" in capsys.readouterr().out


def test_the_exit_code_tells(write: Write) -> None:
    write("1", "done", code=0)
    assert main(["status", "runs"]) == 0
    write("2", "done", code=3)
    assert main(["status", "runs"]) == 3
    write("3", "done", code=2)
    assert main(["status", "runs"]) == 2
    plan(["seed=9"])
    assert main(["status", "runs"]) == UNFINISHED
    write("4", "failed", code=1)
    assert main(["status", "runs"]) == 1


def test_many_cells_are_not_all_listed(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    plan(*[[f"seed={seed}"] for seed in range(100)])
    assert main(["status", "runs"]) == UNFINISHED
    shown = capsys.readouterr().out
    assert "100 cells" in shown and "60 more; --all shows them" in shown and shown.count("never begun") == 40


def test_failed_gives_reason_and_command(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("1", "done", code=0)
    assert main(["failed", "runs"]) == 0 and "No cell has failed" in capsys.readouterr().out
    write("2", "failed", code=1, kind="out of memory", reason="CUDA out of memory. Tried to allocate 2 GiB")
    assert main(["failed", "runs"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith("none-2/seed=0: out of memory") and "2 GiB" in shown[1]
    assert shown[2].strip() == "python -m ftsafety --config-dir=sweeps --config-name=mine hydra.mode=RUN seed=2"


def test_resume_runs_what_is_missing_one_cell_a_process(write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def run(command: list[str], cwd: str, check: bool) -> Any:
        asked.append(command[3:])
        name = command[-1].partition("=")[2]
        if name == "2":
            return subprocess.CompletedProcess(command, -9)
        write(name, "done", code=0)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    write("1", "done", code=0)
    write("2", "failed", code=1, kind="died")
    write("3", "running", **{**identity(), "boot": "elsewhere"})
    plan(["seed=1"], ["seed=2"], ["seed=4"])
    head = ["--config-dir=sweeps", "--config-name=mine", "hydra.mode=RUN"]
    assert main(["resume", "runs"]) == 1
    assert asked == [[*head, "seed=2"], [*head, "seed=4"]], "not what is done, nor what runs on another machine"
    assert "killed (signal 9)" in capsys.readouterr().out
    asked.clear()
    main(["resume", "runs", "--elsewhere"])
    assert [command[-1] for command in asked] == ["seed=2", "seed=3"]


def test_mistakes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "nowhere"]) == 1
    assert capsys.readouterr().err.strip() == "there is no ledger in nowhere; give the folder that python -m ftsafety wrote its runs to, such as runs."
    with pytest.raises(SystemExit):
        main(["statsu", "runs"])


@pytest.mark.slow
def test_a_sweep_from_a_failure_to_its_end(command: Command, work: Path, store: Path) -> None:
    """In processes of their own: a sweep whose cell can't find its file, then the file, then resume."""
    fixed = [override for override in small(work, ["stand_in"]) if not override.startswith(("model=", "paths.runs"))]
    done = command("ftsafety", "-m", "model=refuse_all", "judge=[refusal]", "judge.refusal.path=mine.txt", *fixed, cwd=work, timeout=280)
    assert done.returncode == 1 and done.stderr.count("mine.txt") == 1
    assert main(["status", "runs"]) == 1
    (work / "mine.txt").write_text("sorry\n")
    resumed = command("ftsafety.sweep", "resume", "runs", cwd=work, timeout=280)
    assert resumed.returncode == 0, resumed.stderr
    assert "1 cell: 1 done" in resumed.stdout and len(list((work / "runs").glob("*/seed=0/DONE"))) == 1
