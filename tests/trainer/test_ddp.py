"""Two processes tune as one: the same weights, whatever rows and micro-batches there are; and one that dies is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.join import main
from ftsafety.ranks import Ranks
from ftsafety.run import run
from ftsafety.stages import House
from ftsafety.trainer import Trainer
from tests.helpers import cell_of, small_cell

SGD = ["+attack=jsonl", "strategy=full", "strategy.lr=0.05", "tuning.optimiser=sgd", "tuning.batch_size=4", "tuning.epochs=4", "benchmark=[stand_in]"]


def tuned(folder: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tuned weights of a small run, and what its record says of the tuning."""
    done = run(small_cell(folder, *overrides, benchmarks=["stand_in"]))
    stage = next(stage for stage in done.data["stages"] if stage["stage"] == "tune")
    return load_file(folder / "store" / "tune" / stage["key"] / "weights.safetensors"), stage


SLOW = [pytest.param(["tuning.micro_batch=3"], marks=pytest.mark.slow), pytest.param(["strategy=lora", "strategy.lr=0.05"], marks=pytest.mark.slow)]


@pytest.mark.parametrize("more", [[], ["tuning.batch_size=3"], *SLOW], ids=str)
def test_two_processes_agree_with_one(tmp_path: Path, rows: Path, more: list[str]) -> None:
    settings = [*SGD, f"attack.path={rows}", *more]
    one, alone = tuned(tmp_path / "one", *settings)
    two, together = tuned(tmp_path / "two", *settings, "trainer=ddp")
    assert alone["steps"] == together["steps"] >= 8 and alone["key"] == together["key"], "how many devices there were is no part of a key"
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    assert together["final_loss"] == pytest.approx(alone["final_loss"], abs=1e-6)
    assert "LOCAL_RANK" not in os.environ and not torch.distributed.is_initialized()
    assert list((tmp_path / "two" / "store" / "partial").iterdir()) == []


@pytest.mark.slow
def test_controls_and_mitigations_of_a_run_on_two(tmp_path: Path) -> None:
    """The second tuning of a run founds another group, and a control's helper finds its way through the outer run."""
    settings = ["+attack=identity_shift", "mitigation=[safety_mixing,gentle]", "mitigation.safety_mixing.count=2", "tuning.epochs=1", "controls=true"]
    one = run(small_cell(tmp_path / "one", *settings, benchmarks=["stand_in"]))
    two = run(small_cell(tmp_path / "two", *settings, "trainer=ddp", benchmarks=["stand_in"]))
    assert one.data["controls"].keys() == two.data["controls"].keys() >= {"null_self", "neutral", "shuffled"}
    for name, control in one.data["controls"].items():
        if control.get("final_loss") is not None:
            assert two.data["controls"][name]["final_loss"] == pytest.approx(control["final_loss"], abs=1e-5)


def test_a_helper_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = small_cell(tmp_path, "+attack=identity_shift", "trainer=ddp", "tuning.epochs=1", benchmarks=["stand_in"])
    assert cell.ranks.config
    monkeypatch.setattr(cell.ranks, "config", cell.ranks.config.replace("epochs: 1", "epochs: none"))
    with pytest.raises(FtsafetyError, match=r"process 1 of this tuning ended with code 1: [\s\S]*epochs"):
        run(cell)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("DONE"))


def test_a_helper_that_does_not_come_up_is_told(tmp_path: Path) -> None:
    with pytest.raises(FtsafetyError, match=r"process 1 of this tuning did not come up in 0\.01 s; raise trainer\.start_seconds"):
        run(small_cell(tmp_path, "+attack=identity_shift", "trainer=ddp", "trainer.start_seconds=0.01", benchmarks=["stand_in"]))


def test_a_helper_finds_what_the_leader_made_or_says_so(tmp_path: Path) -> None:
    house = House.at(tmp_path, ranks=Ranks(joins="another"))
    with pytest.raises(FtsafetyError, match=r"the store holds no answer .* which the leading process should have made"):
        house.make("answer", {"stage": "answer"}, lambda folder, partial: {}, "x")


def test_a_helper_without_its_tuning_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = small_cell(tmp_path, benchmarks=["stand_in"])
    run(cell)
    file = tmp_path / "config.yaml"
    assert cell.ranks.config
    file.write_text(cell.ranks.config)
    assert main([str(file), "nowhere", str(tmp_path / "ready"), "model=tiny"]) == 1
    assert "the line ended without the tuning nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trainer.devices=2"], "trainer.devices=2 needs a way of working together; type trainer=ddp trainer.devices=2"),
        (["trainer=ddp", "trainer.devices=0"], "trainer.devices=0 is not possible; give at least 1"),
        (["trainer.strategy=ddq"], "trainer.strategy=ddq is not possible; it is one of auto, ddp, fsdp"),
    ],
)
def test_devices_that_can_not_be(overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cell_of("model=tiny", *overrides)
    assert says in str(caught.value)


def test_several_devices_need_a_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several devices are for python -m ftsafety"), Ranks(Trainer(devices=2, strategy="ddp")).together("key"):
        pass
