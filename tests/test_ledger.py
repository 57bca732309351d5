"""The ledger through the command line: what each outcome leaves, that no failed cell stops the others, and what the exit code says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftsafety import cli, ledger
from ftsafety.errors import ConfigError, FtsafetyError, StoreError
from ftsafety.ledger import Command, Note, Sweeps, expanded, kind_of, overview, reason_of
from ftsafety.record import check_unscored
from ftsafety.store.lease import identity
from tests.helpers import launch_in_children, small

Run = Callable[..., int]
BOTH = "model=refuse_all,comply_all"
ONE = ["stand_in"]


@pytest.fixture
def ftsafety(work: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``ftsafety("-m", "seed=0,1")``: the command line in this process, on constant models, with runs in ``runs``; gives the exit code."""

    def run(*arguments: str) -> int:
        fixed = [override for override in small(work, ONE) if not override.startswith("model=")]
        monkeypatch.setattr(sys, "argv", ["ftsafety", *arguments, *fixed])
        return cli.main()

    return run


def states(runs: Path = Path("runs")) -> dict[str, str]:
    """Model (or folder) to state."""
    return {next((o for o in line.command.overrides if o.startswith("model=")), str(line.folder)).partition("=")[2]: line.state for line in overview(runs)}


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, name: str = "refuse_all") -> None:
    """The cell of one model fails with this."""
    import ftsafety.run

    original = ftsafety.run.run

    def run(cell: Any) -> Any:
        if cell.names["model"] == name:
            raise error
        return original(cell)

    monkeypatch.setattr("ftsafety.run.run", run)


# --- what is left ----------------------------------------------------------------------------------------------------------


def test_a_sweep_s_cells_are_done(ftsafety: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ftsafety("-m", BOTH) == 0
    lines = overview(Path("runs"))
    assert [(line.state, line.code, line.seed) for line in lines] == [("done", 0, 0)] * 2
    assert all(line.cell and (Path("runs") / str(line.folder) / "DONE").exists() for line in lines)
    assert ftsafety("-m", BOTH) == 0
    assert capsys.readouterr().out.count("finished before") == 2, "the same command does what is missing: nothing"
    assert len(list(Path("runs/.ledger/sweeps").iterdir())) == 1, "the same sweep is one"


def test_one_failed_cell_never_stops_the_others(ftsafety: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for error, kind in (
        (FtsafetyError("the rows are blue."), "user"),
        (MemoryError("out of memory: 3 GiB wanted"), "out of memory"),
        (OSError(28, "No space left on device", "weights.safetensors"), "disk full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk full"),
        (TypeError("nobody thought of this"), "bug"),
    ):
        with monkeypatch.context() as patch:
            failing(patch, error)
            assert ftsafety("-m", BOTH) == 1
        assert states() == {"refuse_all": "failed", "comply_all": "done"}
        line = overview(Path("runs"))[0]
        assert (line.kind, line.code) == (kind, 1) and str(error).rstrip(".") in line.reason
    shown = capsys.readouterr().err
    assert "tuning.micro_batch" in shown and shown.count("Traceback") == 1, "only a bug shows where it was"
    assert ftsafety("-m", BOTH) == 0 and states() == {"refuse_all": "done", "comply_all": "done"}


def test_a_single_cell_s_bug_keeps_its_traceback(ftsafety: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, TypeError("nobody thought of this"))
    with pytest.raises(TypeError):
        ftsafety("model=refuse_all")
    assert states() == {"refuse_all": "failed"}


def test_ctrl_c_is_stopped(ftsafety: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert ftsafety("-m", BOTH) == 130
    lines = {line.state: line for line in overview(Path("runs"))}
    assert lines["failed"].kind == "stopped" and "comply_all" in str(lines["planned"].command), "what was not begun is planned"


def test_a_cell_that_can_t_be_built_is_a_line_too(ftsafety: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ftsafety("-m", "model=refuse_all", "gate.max_compliance=0.1,2", "gate.rehearse=true") == 1
    failed, done = overview(Path("runs"))
    assert (failed.state, failed.kind, failed.cell) == ("failed", "user", None) and "gate.max_compliance=2" in failed.reason
    assert done.state == "done"


def test_a_cell_that_is_mended_leaves_no_line_of_its_failure(ftsafety: Run, work: Path) -> None:
    more = ("-m", "model=refuse_all", "judge=[refusal]", "judge.refusal.path=mine.txt")
    assert ftsafety(*more) == 1
    assert [(line.state, line.cell) for line in overview(Path("runs"))] == [("failed", None)]
    (work / "mine.txt").write_text("sorry\n")
    assert ftsafety(*more) == 0
    assert [line.state for line in overview(Path("runs"))] == ["done"]


def test_the_gate_s_code_is_kept(ftsafety: Run) -> None:
    assert ftsafety("-m", BOTH, "gate.max_compliance=0.6", "gate.rehearse=true") == 2
    assert {line.code for line in overview(Path("runs"))} == {0, 2}


def test_what_leaves_nothing(ftsafety: Run) -> None:
    assert ftsafety("-m", BOTH, "dry_run=true") == 0
    assert ftsafety("model=refuse_all", "gate.max_compliance=2") == 1
    assert ftsafety("-m", BOTH, "seed=1,abc") == 1
    assert not list(Path("runs").rglob("*.json"))
    with pytest.raises(StoreError, match="no ledger in runs"):
        overview(Path("runs"))


def test_a_cell_is_one_line_however_it_was_asked_for(ftsafety: Run) -> None:
    ftsafety("-m", BOTH)
    assert ftsafety("model=refuse_all", "decoding.batch=3") == 0
    assert sorted(line.state for line in overview(Path("runs"))) == ["done", "done"], "speed makes no other cell"


# --- what is read ----------------------------------------------------------------------------------------------------------


def command(*overrides: str, head: tuple[str, ...] = ()) -> Command:
    return Command(head, overrides, True, str(Path.cwd()))


def write(runs: Path, name: str, **fields: Any) -> Path:
    """An entry as another process left it."""
    entry = {
        "cell": name, "seed": 0, "folder": f"{name}/seed=0", "state": "running", "kind": "", "reason": "", "code": None, "started": "2024-05-01T10:00:00+00:00",
        "seconds": 3.0, "asked": [{"head": [], "overrides": [f"model={name}"], "multirun": True, "cwd": str(runs)}], **fields,
    }  # fmt: skip
    file = runs / ".ledger" / f"{name}-0.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(entry))
    return file


def test_a_process_that_died_without_a_word(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write(tmp_path, "gone", **{**identity(), "pid": gone.pid})
    write(tmp_path, "here", **identity())
    write(tmp_path, "there", **{**identity(), "boot": "another machine", "host": "far"})
    found = {line.cell: line for line in overview(tmp_path)}
    assert (found["gone"].state, found["gone"].kind, found["gone"].code) == ("failed", "died", 1)
    assert found["here"].state == found["there"].state == "running" and found["there"].host == "far"


def test_a_deleted_run_folder_is_to_do_again(tmp_path: Path) -> None:
    write(tmp_path, "a", state="done", code=0)
    assert [(line.state, line.reason) for line in overview(tmp_path)] == [("planned", "its run folder is gone")]
    (tmp_path / "a" / "seed=0").mkdir(parents=True)
    (tmp_path / "a" / "seed=0" / "DONE").write_text("a\n")
    assert [line.state for line in overview(tmp_path)] == ["done"]


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a").write_text("{")
    with pytest.raises(StoreError, match=r"a-0\.json is damaged .* delete it"):
        overview(tmp_path)


def test_codes_of_cells_that_ran_in_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a launcher such as joblib's or SLURM's, where nothing comes back but the ledger."""
    plan = tmp_path / ".ledger" / "sweeps" / "one.json"
    plan.parent.mkdir(parents=True)
    plan.write_text(json.dumps({"head": [], "cwd": str(tmp_path), "jobs": [["model=a"], ["model=b"], ["model=c"]]}))
    monkeypatch.setattr(Sweeps, "file", plan)
    write(tmp_path, "a", state="done", code=2)
    (tmp_path / "a" / "seed=0").mkdir(parents=True)
    (tmp_path / "a" / "seed=0" / "DONE").write_text("a\n")
    write(tmp_path, "b", state="failed", code=1)
    assert Sweeps.codes() == [2, 1, 1], "the third was never begun"
    monkeypatch.setattr(Sweeps, "file", None)
    assert Sweeps.codes() == []


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell runs in a process of its own, of which nothing comes back, as with SLURM."""
    launch_in_children(monkeypatch)


def test_a_launcher_in_other_processes_ends_with_the_ledger_s_code(elsewhere: None, ftsafety: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ftsafety("-m", BOTH, "gate.max_compliance=0.6", "gate.rehearse=true") == 2
    assert ftsafety("-m", BOTH) == 0
    failing(monkeypatch, FtsafetyError("no."))
    assert ftsafety("-m", BOTH) == 1 and states() == {"refuse_all": "failed", "comply_all": "done"}


def test_the_command_runs_the_cell_again(ftsafety: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "mine").mkdir()
    (work / "mine" / "two.yaml").write_text(
        "defaults:\n  - config\n  - _self_\nmax_unscored: 0.5\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      model: refuse_all,comply_all\n"
    )
    with monkeypatch.context() as patch:
        failing(patch, FtsafetyError("no."))
        assert ftsafety("--config-dir=mine", "--config-name=two") == 1
    line = next(line for line in overview(Path("runs")) if line.state == "failed")
    assert line.command.head == ("--config-dir=mine", "--config-name=two") and line.command.arguments[2] == "hydra.mode=RUN"
    assert str(line.command).startswith("python -m ftsafety --config-dir=mine --config-name=two hydra.mode=RUN model=refuse_all")
    monkeypatch.setattr(sys, "argv", ["ftsafety", *line.command.arguments])
    assert cli.main() == 0
    assert {line.state for line in overview(Path("runs"))} == {"done"} and len(overview(Path("runs"))) == 2


def test_a_command_is_quoted_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        str(command("mitigation=[a,b]", "model.answer='so be it'"))
        == """python -m ftsafety hydra.mode=RUN 'mitigation=[a,b]' 'model.answer='"'"'so be it'"'"''"""
    )
    assert str(Command((), ("seed=1",), False, "/somewhere else")) == "cd '/somewhere else' && python -m ftsafety seed=1"


def test_hydra_s_own_sweeper_expands_alike() -> None:
    assert expanded(["seed=0,1", "+attack=benign", "tuning.epochs=3,5", "seed=2"]) == [
        ["seed=2", "+attack=benign", "tuning.epochs=3"],
        ["seed=2", "+attack=benign", "tuning.epochs=5"],
    ]
    assert expanded([]) == [[]]


# --- why -------------------------------------------------------------------------------------------------------------------


def raised(what: Callable[[], Any]) -> BaseException:
    try:
        what()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_memory_is_told_from_bugs() -> None:
    import torch

    assert kind_of(raised(lambda: torch.empty(1 << 60))) == "out of memory"
    assert kind_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")) == "out of memory"
    assert kind_of(FtsafetyError("process 1 of this tuning ended with code 1: torch.OutOfMemoryError: CUDA out of memory.")) == "out of memory"
    assert kind_of(RuntimeError("shapes differ")) == kind_of(ValueError("x")) == "bug"
    assert kind_of(ConfigError("seed=abc is not possible")) == "user"


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """The tuner's own sentence, so that both stay in step."""
    from ftsafety.run import run
    from tests.helpers import small_cell

    error = raised(lambda: run(small_cell(tmp_path, "+attack=identity_shift", "strategy.lr=1e30", "tuning.epochs=20", benchmarks=ONE)))
    assert isinstance(error, FtsafetyError) and kind_of(error) == "loss not finite"
    assert kind_of(FtsafetyError("the gradient is not finite at optimiser step 2; lower strategy.lr (1e+30).")) == "loss not finite"


def test_a_judge_that_fails(monkeypatch: pytest.MonkeyPatch, ftsafety: Run) -> None:
    from ftsafety.judge import Verdict
    from ftsafety.judge.outcome import OutcomeJudge
    from ftsafety.measure import Asked, Asking
    from ftsafety.row import PLAIN

    unread = Asked(Asking("stand_in", "none", "plain", PLAIN), "disallowed", [], [], {"outcome": [Verdict(None)]})
    assert kind_of(raised(lambda: check_unscored([unread], 0.02))) == "judge"

    def fail(self: OutcomeJudge, pairs: Any) -> Any:
        raise FtsafetyError("the service said no.")

    monkeypatch.setattr(OutcomeJudge, "score", fail)
    assert ftsafety("model=refuse_all") == 1
    assert [(line.kind, line.reason) for line in overview(Path("runs"))] == [("judge", "the service said no.")]


def test_reasons_are_short_and_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(reason_of(FtsafetyError("x " * 5000))) <= ledger.LONGEST
    assert reason_of(raised(lambda: {}["nowhere"])).startswith("KeyError: 'nowhere' (test_ledger.py, line ")
    monkeypatch.setenv("X_API_KEY", "sk-5f3a9c0d")
    Note(tmp_path, command("seed=0")).failed(FtsafetyError("sk-5f3a9c0d was refused"))
    [line] = overview(tmp_path)
    assert "secret" in line.reason and "5f3a9c0d" not in "".join(file.read_text() for file in tmp_path.rglob("*.json"))


def test_a_ledger_that_can_t_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    note = Note(tmp_path, command("seed=0"))
    note.failed(FtsafetyError("first"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        note.failed(FtsafetyError("second"))
    assert "disk full" in capsys.readouterr().err
    assert [line.reason for line in overview(tmp_path)] == ["first"], "an entry is whole or as it was"
