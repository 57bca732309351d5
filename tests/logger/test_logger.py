"""Loggers: what they are told, read back by each one's own reader, and that nothing that is computed depends on them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftsafety.curve import of_record
from ftsafety.errors import FtsafetyError
from ftsafety.logger.csv import Csv
from ftsafety.logger.notebook import FILE, Notebook
from ftsafety.record import Run
from ftsafety.run import run
from tests.helpers import small_cell

ATTACK = "+attack=identity_shift"
ONE = ["stand_in"]
NAMES = {"loss", "learning_rate", "gradient_norm"}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service is asked, whatever this machine is set to."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and store of a run without a logger, whose store the others take."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def plain(home: Path) -> Run:
    """A run that tells nobody."""
    return run(small_cell(home, ATTACK, benchmarks=ONE))


def logged(folder: Path, logger: str, *more: str) -> Run:
    return run(small_cell(folder, ATTACK, f"logger={logger}", *more, benchmarks=ONE))


def curve(record: Run) -> dict[str, list[Any]]:
    return of_record(record.data["stages"])["tune"]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


# --- nothing depends on it -------------------------------------------------------------------------------------------------


def test_a_logger_is_no_part_of_what_a_run_is(tmp_path: Path, plain: Run) -> None:
    told = logged(tmp_path, "csv")
    for name in ("cell", "recipe", "results", "differences", "start_digest", "tuned_digest", "names"):
        assert told.data[name] == plain.data[name]
    assert told.verdicts == plain.verdicts
    assert [stage["key"] for stage in told.data["stages"]] == [stage["key"] for stage in plain.data["stages"]]
    assert curve(told) == curve(plain), "a tuning's curve is kept whether it is told or not"
    assert not (plain.folder / FILE).exists()


def test_the_curve_is_kept_with_the_record(plain: Run) -> None:
    kept = curve(plain)
    [tune] = [stage for stage in plain.data["stages"] if stage["stage"] == "tune"]
    assert kept["step"] == [1, 2] and set(kept) == {"step", *NAMES}
    assert kept["loss"] == pytest.approx([tune["first_loss"], tune["final_loss"]], rel=1e-5)
    lr, gamma = plain.data["recipe"]["strategy"]["lr"], plain.data["recipe"]["tuning"]["gamma"]
    assert kept["learning_rate"] == pytest.approx([lr, lr * gamma], rel=1e-5)
    assert all(norm > 0 and math.isfinite(norm) for norm in kept["gradient_norm"])


def test_an_artifact_that_kept_its_losses_only_has_a_curve(home: Path, plain: Run, tmp_path: Path) -> None:
    [tune] = [stage for stage in plain.data["stages"] if stage["stage"] == "tune"]
    manifest = home / "store" / "tune" / tune["key"] / "manifest.json"
    whole = manifest.read_text()
    data = json.loads(whole)
    del data["info"]["curve"]
    manifest.write_text(json.dumps(data))
    try:
        again = run(small_cell(home, ATTACK, f"paths.runs={tmp_path}", benchmarks=ONE))
    finally:
        manifest.write_text(whole)
    assert curve(again) == {name: values for name, values in curve(plain).items() if name != "gradient_norm"}
    assert again.data["tuned_digest"] == plain.data["tuned_digest"]


def test_what_fails_in_the_middle_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Csv, "step", fails)
    record = logged(tmp_path, "csv")
    assert (record.folder / "DONE").exists() and not (record.folder / FILE).exists()
    assert "logger=csv failed and is told no more of this run: OSError: the disk is full" in " ".join(capsys.readouterr().err.split())


def test_a_secret_is_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_API_KEY", "quack-quack-quack")
    with pytest.raises(FtsafetyError, match="environment variable STAND_IN_API_KEY") as error:
        logged(tmp_path, "mlflow", "logger.experiment=quack-quack-quack")
    assert "quack" not in str(error.value)
    assert not list(tmp_path.rglob("mlruns"))


def test_a_logger_whose_library_is_missing_is_refused_before_anything_is_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftsafety.logger.tensorboard.Tensorboard.module", "no_such_library")
    with pytest.raises(FtsafetyError, match=r"logger=tensorboard needs no_such_library, which is not installed; type pip install 'ftsafety\[tensorboard\]'"):
        small_cell(tmp_path, "logger=tensorboard")


# --- csv -------------------------------------------------------------------------------------------------------------------


def test_csv_is_read_back(tmp_path: Path) -> None:
    record = logged(tmp_path, "csv")
    folder = record.folder / "csv"
    rows, kept = rows_of(folder / "metrics.csv"), curve(record)
    assert [int(row["step"]) for row in rows] == kept["step"]
    for name in NAMES:
        assert [float(row[f"tune/{name}"]) for row in rows] == pytest.approx(kept[name], rel=1e-5)
    results = rows_of(folder / "results.csv")
    assert [(row["metric"], float(row["value"])) for row in results] == [(entry["metric"], entry["value"]) for entry in record.data["results"]]
    assert len(rows_of(folder / "verdicts.csv")) == len(record.verdicts)
    assert len(rows_of(folder / "differences.csv")) == len(record.data["differences"])
    assert yaml.safe_load((folder / "hparams.yaml").read_text())["attack"] == "identity_shift"


def test_a_finished_run_is_told_once(home: Path, plain: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    start = Csv.start
    monkeypatch.setattr(Csv, "start", lambda self, about: (told.append(about.id), start(self, about))[1])
    for _ in range(2):
        assert logged(home, "csv").reused
    assert told == [f"{plain.data['cell']}-0"]
    assert [float(row["tune/loss"]) for row in rows_of(plain.folder / "csv" / "metrics.csv")] == curve(plain)["loss"]


# --- tensorboard -----------------------------------------------------------------------------------------------------------


def test_tensorboard_is_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = logged(tmp_path, "tensorboard")
    events = EventAccumulator(str(record.folder / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    kept = curve(record)
    for name in NAMES:
        told = events.Scalars(f"tune/{name}")
        assert [event.step for event in told] == kept["step"] and [event.value for event in told] == pytest.approx(kept[name], rel=1e-5)
    [after] = events.Scalars("tuned/stand_in/train/outcome/compliance_rate_high")
    result = record.result("compliance_rate", "tuned", "train")
    assert result and after.value == pytest.approx(result["high"], rel=1e-5)
    texts = {tag.removesuffix("/text_summary"): events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert texts["weights/tuned"] == record.data["tuned_digest"] and "| tuned | stand_in |" in texts["results"]


# --- mlflow ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mlflow_client(tmp_path: Path) -> Iterator[Any]:
    mlflow = pytest.importorskip("mlflow")
    yield lambda: mlflow.tracking.MlflowClient((tmp_path / "runs" / "mlruns").as_uri())


def test_mlflow_is_read_back_and_taken_up(tmp_path: Path, mlflow_client: Any) -> None:
    record = logged(tmp_path, "mlflow")
    client = mlflow_client()
    experiment = client.get_experiment_by_name("ftsafety")
    [found] = client.search_runs([experiment.experiment_id])
    assert found.data.tags["ftsafety.run"] == f"{record.data['cell']}-0" and found.info.status == "FINISHED"
    assert found.data.tags["weights.tuned"] == record.data["tuned_digest"]
    for name in NAMES:
        history = sorted(client.get_metric_history(found.info.run_id, f"tune/{name}"), key=lambda metric: metric.step)
        assert [metric.value for metric in history] == pytest.approx(curve(record)[name], rel=1e-5)
    result = record.result("compliance_rate", "tuned", "train")
    assert result and found.data.metrics["tuned/stand_in/train/outcome/compliance_rate"] == pytest.approx(result["value"])
    assert {item.path for item in client.list_artifacts(found.info.run_id)} >= {"results.csv", "verdicts.csv"}
    # the record is told of again, the curve that is there is not
    (record.folder / FILE).unlink()
    assert logged(tmp_path, "mlflow").reused
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert len(client.get_metric_history(found.info.run_id, "tune/loss")) == 2


def test_without_a_logger_a_notebook_tells_nobody(tmp_path: Path) -> None:
    with Notebook() as notebook:
        notebook.follow("tune", [])
        notebook.record(tmp_path)
