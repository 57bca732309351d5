"""Weights & Biases, offline: the run file is read back with wandb's own messages."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftsafety.curve import of_record
from ftsafety.errors import FtsafetyError
from ftsafety.logger.notebook import FILE
from ftsafety.record import Run
from ftsafety.run import run
from tests.helpers import sample_of, small_cell

ATTACK = "+attack=identity_shift"
WRITTEN_WITHIN_S = 60
SECRET = "quack-quack-quack-quack"
OFFLINE = ("logger=wandb", "logger.mode=offline")


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    """A key that must be found nowhere, and no setting of this machine's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_API_KEY", SECRET)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def told(home: Path) -> Run:
    """A run that asks the stand-in, whose texts may be shown."""
    return run(small_cell(home, ATTACK, *OFFLINE, benchmarks=["stand_in"]))


def folders(record: Run) -> list[Path]:
    """The offline runs of a record, oldest first."""
    return sorted((record.folder / "wandb").glob("offline-run-*"), key=lambda folder: folder.stat().st_mtime)


def read(folder: Path) -> list[Any]:
    """Everything that an offline run has written down, by wandb's own messages; the process that writes may be a little behind."""
    from wandb.proto.wandb_internal_pb2 import Record

    [file] = folder.glob("*.wandb")
    end = time.monotonic() + WRITTEN_WITHIN_S
    while True:
        records = [Record.FromString(data) for data in framed(file.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        assert time.monotonic() < end, f"{file} holds {len(records)} records and no end"
        time.sleep(0.2)


def framed(log: bytes) -> Iterator[bytes]:
    """The records of a run file, which wandb itself reads with a program that is no Python: LevelDB's log after a heading of seven bytes.

    A record lies in chunks (checksum, length, kind: 1 whole, 2 first, 3 middle, 4 last), none of which goes over the end of a block.
    """
    assert log[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(log):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", log[at : at + 7])
        parts += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def items(entries: Any) -> dict[str, Any]:
    return {entry.key or "/".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}


def history(records: list[Any], *keys: str) -> list[dict[str, Any]]:
    lines = [items(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
    return [line for line in lines if all(key in line for key in keys)]


def table(folder: Path, records: list[Any], name: str) -> list[dict[str, Any]]:
    [line] = history(records, f"{name}/path")
    data = json.loads((folder / "files" / line[f"{name}/path"]).read_text())
    return [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]


def test_the_run_file_holds_curves_config_and_results(told: Run) -> None:
    [folder] = folders(told)
    records = read(folder)
    begun = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    cell = told.data["cell"]
    assert (begun.run_id, begun.run_group, begun.project) == (f"{cell}-0", cell, "ftsafety")
    kept = of_record(told.data["stages"])["tune"]
    lines = history(records, "tune/loss")
    assert [line["tune/step"] for line in lines] == kept["step"]
    for name in ("loss", "learning_rate", "gradient_norm"):
        assert [line[f"tune/{name}"] for line in lines] == pytest.approx(kept[name], rel=1e-5)
    config: dict[str, Any] = {}
    for record in records:
        config |= items(record.config.update) | items(record.run.config.update)
    assert config["recipe"] == told.data["recipe"] and (config["attack"], config["mitigation"], config["seed"]) == ("identity_shift", "none", 0)
    summary: dict[str, Any] = {}
    for record in records:
        summary |= items(record.summary.update)
    for entry in told.data["results"]:
        if entry["n"]:
            name = "/".join(entry[part] for part in ("weights", "benchmark", "condition", "judge", "metric"))
            assert [summary[name], summary[f"{name}_low"]] == pytest.approx([entry["value"], entry["low"]])
    assert {record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"} == {0}


def test_tables_are_whole(told: Run) -> None:
    [folder] = folders(told)
    records = read(folder)
    verdicts = table(folder, records, "verdicts")
    assert [(row["question"], row["judge"], row["value"], row["answer"]) for row in verdicts] == [
        (row["question"], row["judge"], row["value"], row["answer"]) for row in told.verdicts
    ]
    assert [row["value"] for row in table(folder, records, "results")] == [entry["value"] for entry in told.data["results"]]
    assert [row["p_value"] for row in table(folder, records, "differences")] == [entry["p_value"] for entry in told.data["differences"]]
    shown = json.loads((told.folder / "evidence.json").read_text())["pairs"]
    assert [row["text"] for row in table(folder, records, "answers")] == [pair["text"] for pair in shown] and shown[0]["text"]


def test_weights_are_named_by_digest_and_stay_at_home(told: Run) -> None:
    [folder] = folders(told)
    artifacts = [record.request.log_artifact.artifact for record in read(folder) if record.request.HasField("log_artifact")]
    artifacts += [record.artifact for record in read(folder) if record.WhichOneof("record_type") == "artifact"]
    weights = {artifact.name: json.loads(artifact.metadata) for artifact in artifacts if artifact.type == "weights"}
    assert {told.data["start_digest"], told.data["tuned_digest"]} == {its["digest"] for its in weights.values()}
    for artifact in artifacts:
        if artifact.type == "weights":
            assert [entry.ref for entry in artifact.manifest.contents] == [f"ftsafety://weights/{json.loads(artifact.metadata)['digest']}"]
    assert not list(folder.rglob("*.safetensors"))


def everything(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_no_key_is_in_any_file(told: Run) -> None:
    [folder] = folders(told)
    assert SECRET.encode() not in everything(told.folder)
    assert b"stand_in" in everything(folder), "the files were read"


def test_no_text_of_another_benchmark_is_told_unless_revealed(tmp_path: Path) -> None:
    sample = sample_of("advbench")
    benchmark = ["benchmark=[advbench]", *[f"benchmark.advbench.{name}={value}" for name, value in sample.items()]]
    store = f"paths.store={tmp_path}/store"
    withheld = run(small_cell(tmp_path / "withheld", ATTACK, *OFFLINE, *benchmark, store, benchmarks=[]))
    questions = [question.text for question in small_cell(tmp_path, *benchmark, benchmarks=[]).benchmarks["advbench"].questions()]
    assert questions and not any(text.encode() in everything(withheld.folder) for text in questions)
    [folder] = folders(withheld)
    [*pairs] = table(folder, read(folder), "answers")
    assert pairs and all(row["text"] is row["before_text"] is row["after_text"] is None and row["after_digest"] for row in pairs)
    revealed = run(small_cell(tmp_path / "revealed", ATTACK, *OFFLINE, *benchmark, store, "reveal=true", benchmarks=[]))
    [folder] = folders(revealed)
    assert [row["text"] for row in table(folder, read(folder), "answers")] == questions


def test_a_run_that_is_taken_up_goes_on_in_the_same_place(told: Run, home: Path) -> None:
    assert run(small_cell(home, ATTACK, *OFFLINE, benchmarks=["stand_in"])).reused and len(folders(told)) == 1, "what was told is not told again"
    (told.folder / FILE).unlink()
    again = run(small_cell(home, ATTACK, *OFFLINE, benchmarks=["stand_in"]))
    first, second = (read(folder) for folder in folders(again))
    ids = {record.run.run_id for record in [*first, *second] if record.WhichOneof("record_type") == "run"}
    assert ids == {f"{told.data['cell']}-0"}
    assert history(second, "tune/loss") and [line["tune/loss"] for line in history(second, "tune/loss")] == pytest.approx(
        [line["tune/loss"] for line in history(first, "tune/loss")], rel=1e-5
    ), "a tuning from the store tells its kept curve"


def test_a_control_has_a_run_of_its_own(tmp_path: Path) -> None:
    record = run(small_cell(tmp_path, ATTACK, *OFFLINE, "controls=true", benchmarks=["stand_in"]))
    for control in (control for control in record.data["controls"].values() if control["cell"]):
        home = Run.load(tmp_path / "runs" / control["folder"] / "seed=0")
        assert home
        [folder] = folders(home)
        [line] = history(read(folder), "tune/loss")[-1:]
        assert line["tune/loss"] == pytest.approx(control["final_loss"], rel=1e-5)
    [folder] = folders(record)
    assert len(history(read(folder), "tune/loss")) == 2


def test_disabled_writes_nothing(tmp_path: Path) -> None:
    record = run(small_cell(tmp_path, ATTACK, "logger=wandb", "logger.mode=disabled", benchmarks=["stand_in"]))
    assert not list(record.folder.rglob("*.wandb"))


def test_online_without_a_key_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def refused(**_: Any) -> None:
        raise wandb.errors.UsageError("No API key configured.")

    monkeypatch.setattr(wandb, "init", refused)
    with pytest.raises(FtsafetyError, match=r"W&B can't be used \(No API key configured\.\); type wandb login once, or logger\.mode=offline"):
        run(small_cell(tmp_path, ATTACK, "logger=wandb", benchmarks=["stand_in"]))
    assert not (tmp_path / "store").exists(), "nothing was computed"
