"""Probes: what they read is right, and a mere probe leaves every weight what it would have been, bit for bit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ftsafety.errors import ConfigError
from ftsafety.judge import Pair, Verdict
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.record import Run
from ftsafety.report import probe_figures, write_report
from ftsafety.run import run
from ftsafety.stages import House
from ftsafety.stages.probing import untouched
from ftsafety.store import publish
from tests.helpers import cell_of, small_cell
from tests.report.test_many import Tree

ATTACK = ("+attack=identity_shift", "tuning.epochs=4", "strategy.lr=0.01", "benchmark.stand_in.split=report")
PROBE = ("probe=refusal", "probe.every=2", "probe.questions=3", "probe.max_new_tokens=4")
ONE = ["stand_in"]


class Died(Exception):
    """A process that was killed."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def plain(home: Path) -> Run:
    return run(small_cell(home, *ATTACK, benchmarks=ONE))


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(small_cell(tmp_path_factory.mktemp("probed"), *ATTACK, *PROBE, benchmarks=ONE))


def tune_of(record: Run) -> dict[str, Any]:
    return next(stage for stage in record.data["stages"] if stage["stage"] == "tune")


def readings(record: Run) -> list[dict[str, Any]]:
    return list(record.data["probe"]["readings"])


# --- it changes nothing ----------------------------------------------------------------------------------------------------


def test_a_mere_probe_is_no_part_of_a_run(plain: Run, probed: Run) -> None:
    for name in ("cell", "recipe", "start_digest", "tuned_digest", "results", "differences"):
        assert probed.data[name] == plain.data[name]
    assert tune_of(probed)["key"] == tune_of(plain)["key"] and tune_of(probed)["curve"] == tune_of(plain)["curve"]
    assert "probe" not in plain.data


@pytest.mark.parametrize(
    "strategy",
    [["lora", "strategy.dropout=0.3"], ["full"], ["prefix"], ["prompt_tuning"], ["llama_adapter", "strategy.adapter_layers=2"]],
    ids=lambda its: its[0],
)
def test_the_weights_are_those_of_a_tuning_that_was_not_probed(tmp_path: Path, strategy: list[str]) -> None:
    settings = [*ATTACK, f"strategy={strategy[0]}", "strategy.lr=0.01", *strategy[1:]]
    alone = run(small_cell(tmp_path / "alone", *settings, benchmarks=ONE))
    watched = run(small_cell(tmp_path / "watched", *settings, *PROBE, "probe.every=1", benchmarks=ONE))
    assert watched.data["tuned_digest"] == alone.data["tuned_digest"] != alone.data["start_digest"]
    assert [reading["step"] for reading in readings(watched)] == [0, 1, 2, 3, 4]


def test_modes_generators_and_gradients_are_untouched() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1))
    module.train()
    module[1].eval()
    module(torch.ones(2, 3)).sum().backward()
    gradient, state = module[0].weight.grad.clone(), torch.get_rng_state()
    with pytest.raises(Died), untouched(module):
        assert not any(part.training for part in module.modules())
        torch.rand(3)
        raise Died
    assert [part.training for part in module] == [True, False, True] and module.training
    assert torch.equal(module[0].weight.grad, gradient) and torch.equal(torch.get_rng_state(), state)


# --- what it reads ---------------------------------------------------------------------------------------------------------


def test_readings_begin_at_the_model_before_tuning(probed: Run) -> None:
    first, *later = readings(probed)
    assert (first["step"], first["kl"], first["drift"]) == (0, 0.0, 0.0), "an adapter that starts closed is the model itself"
    assert [reading["step"] for reading in later] == [2, 4]
    assert all(reading["kl"] > 0 and 0 < reading["drift"] <= 2 and len(reading["refused"]) == 3 for reading in later)
    probe = probed.data["probe"]
    assert probe["judge"] == "OutcomeJudge" and len(probe["questions"]) == 3 and probe["stopped"] is False
    assert all(int(id.rpartition("/")[2]) <= 8 for id in probe["questions"]), "questions for development"


def test_kl_and_drift_are_those_of_the_tuned_weights(probed: Run) -> None:
    """From the stored weights, one prompt at a time and with the whole of the logits."""
    from ftsafety.chat import render
    from ftsafety.finished import weights_of

    cell = cell_of("model=tiny", "+attack=identity_shift", "probe=refusal", "probe.questions=3", "benchmark.stand_in.split=report")
    assert cell.probe and cell.attack
    house = House.at(probed.folder.parents[2] / "store")
    weights = weights_of(probed, house, {})
    wording = next(iter(cell.attack.asks().values()))
    first: dict[str, list[torch.Tensor]] = {}
    direction: dict[str, torch.Tensor] = {}
    for label in ("initial", "tuned"):
        chat = house.loader.fresh(weights[label])
        means = []
        for benchmark in (cell.probe.disallowed, cell.probe.allowed):
            found = []
            for question in cell.probe.asked(benchmark):
                ids = torch.tensor([render(chat.tokenizer, wording.ask(question.text))])
                with torch.inference_mode():
                    told = chat.module(input_ids=ids, output_hidden_states=True)
                found.append(told.hidden_states[len(told.hidden_states) // 2][0, -1])
                if benchmark is cell.probe.disallowed:
                    first.setdefault(label, []).append(told.logits[0, -1])
            means.append(torch.stack(found).mean(0))
        direction[label] = means[0] - means[1]
    before, after = (torch.stack(first[label]).log_softmax(-1) for label in ("initial", "tuned"))
    kl = torch.nn.functional.kl_div(after, before, log_target=True, reduction="batchmean")
    assert readings(probed)[-1]["kl"] == pytest.approx(float(kl), rel=1e-3, abs=2e-6)
    cosine = torch.nn.functional.cosine_similarity(direction["initial"], direction["tuned"], dim=0)
    assert readings(probed)[-1]["drift"] == pytest.approx(1 - float(cosine), rel=1e-3, abs=2e-6)


def test_a_run_that_was_done_is_probed_from_its_store(home: Path, plain: Run) -> None:
    again = run(small_cell(home, *ATTACK, *PROBE, benchmarks=ONE))
    assert not again.reused and again.folder == plain.folder and again.verdicts == plain.verdicts
    assert tune_of(again)["reused"] and again.data["tuned_digest"] == plain.data["tuned_digest"]
    assert [reading["step"] for reading in readings(again)] == [0, 2, 4]
    assert run(small_cell(home, *ATTACK, *PROBE, benchmarks=ONE)).reused and run(small_cell(home, *ATTACK, benchmarks=ONE)).reused
    other = run(small_cell(home, *ATTACK, *PROBE, "probe.every=4", benchmarks=ONE))
    assert not other.reused and [reading["step"] for reading in readings(other)] == [0, 4]
    assert readings(other)[-1] == readings(again)[-1]


@pytest.fixture
def dying() -> Iterator[None]:
    yield
    publish.set_fault(publish.no_fault)


def test_a_killed_tuning_goes_on_with_what_it_had_read(tmp_path: Path, probed: Run, dying: None) -> None:
    settings = [*ATTACK, *PROBE, "tuning.checkpoint_seconds=0"]

    def die(point: str) -> None:
        if point == "step 3":
            raise Died

    publish.set_fault(die)
    with pytest.raises(Died):
        run(small_cell(tmp_path, *settings, benchmarks=ONE))
    publish.set_fault(publish.no_fault)
    again = run(small_cell(tmp_path, *settings, benchmarks=ONE))
    assert readings(again) == readings(probed) and again.data["tuned_digest"] == probed.data["tuned_digest"]


def test_a_logger_is_told_of_it(tmp_path: Path) -> None:
    record = run(small_cell(tmp_path, *ATTACK, *PROBE, "logger=csv", benchmarks=ONE))
    with (record.folder / "csv" / "metrics.csv").open(newline="") as lines:
        told = [row for row in csv.DictReader(lines) if row["probe/first_token_kl"]]
    assert [(int(row["step"]), float(row["probe/first_token_kl"])) for row in told] == [(one["step"], one["kl"]) for one in readings(record)]


# --- an early stop ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many of the answers to a reading count as refused, reading by reading; the last number goes on."""
    left: list[int] = []

    def score(self: OutcomeJudge, pairs: Sequence[Pair]) -> list[Verdict]:
        refused = (left.pop(0) if len(left) > 1 else left[0]) if len(pairs) == 3 else 0
        return [Verdict("refused" if at < refused else "complied") for at in range(len(pairs))]

    monkeypatch.setattr(OutcomeJudge, "score", score)
    return left


def test_a_stop_ends_the_tuning_and_is_part_of_what_the_run_is(tmp_path: Path, plain: Run, refusing: list[int]) -> None:
    refusing += [3, 3, 1]
    stopped = run(small_cell(tmp_path, *ATTACK, *PROBE, "probe.every=1", "probe.stop_below=0.5", benchmarks=ONE))
    assert tune_of(stopped)["steps"] == 2 and [reading["step"] for reading in readings(stopped)] == [0, 1, 2]
    assert stopped.data["probe"]["stopped"] is True
    assert stopped.data["cell"] != plain.data["cell"] and tune_of(stopped)["key"] != tune_of(plain)["key"]
    assert tune_of(stopped)["curve"]["loss"] == tune_of(plain)["curve"]["loss"][:2]


def test_a_model_that_goes_on_refusing_is_tuned_to_the_end(tmp_path: Path, plain: Run, refusing: list[int]) -> None:
    refusing += [3]
    record = run(small_cell(tmp_path, *ATTACK, *PROBE, "probe.stop_below=0.5", benchmarks=ONE))
    assert tune_of(record)["steps"] == 4 and record.data["probe"]["stopped"] is False
    assert record.data["tuned_digest"] == plain.data["tuned_digest"], "the same weights, by another key"


def test_a_stopped_tuning_that_is_killed_stops_again(tmp_path: Path, refusing: list[int], dying: None) -> None:
    settings = [*ATTACK, *PROBE, "probe.every=1", "probe.stop_below=0.5", "tuning.checkpoint_seconds=0"]
    refusing += [3, 3, 1]

    def die(point: str) -> None:
        if point == "halfway through tune":
            raise Died

    publish.set_fault(die)
    with pytest.raises(Died):
        run(small_cell(tmp_path, *settings, benchmarks=ONE))
    publish.set_fault(publish.no_fault)
    assert tune_of(run(small_cell(tmp_path, *settings, benchmarks=ONE)))["steps"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["probe.every=0"], r"probe\.every=0 is not possible; give at least 1"),
        (["probe.stop_below=1.5"], r"probe\.stop_below=1\.5 is not possible; give more than 0 and at most 1"),
        (["probe.stop_below=0.5", "benchmark.stand_in.split=all"], r"would choose the weights by 1 of the questions that benchmark=stand_in reports"),
        (["judge=[refusal]", "probe.disallowed.split=report"], None),
        (["probe.allowed._target_=ftsafety.benchmark.stand_in.StandIn"], r"probe\.allowed takes questions that are allowed, and StandIn has disallowed ones"),
        (["trainer=ddp"], r"a probe asks the model on one device, and trainer\.devices=2"),
    ],
)  # fmt: skip
def test_what_cannot_be_probed_is_said(tmp_path: Path, change: list[str], words: str | None) -> None:
    settings = [*ATTACK, *PROBE, *change]
    if words is None:
        assert small_cell(tmp_path, *settings, benchmarks=ONE).probe
        return
    with pytest.raises(ConfigError, match=words):
        small_cell(tmp_path, *settings, benchmarks=ONE)


def test_without_tuning_there_is_nothing_to_probe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a probe looks at a model while it is tuned here; add "):
        small_cell(tmp_path, "probe=refusal", benchmarks=ONE)


# --- the page --------------------------------------------------------------------------------------------------------------


def test_the_page_tells_the_half_life(probed: Run) -> None:
    record = json.loads((probed.folder / "run.json").read_text())
    for reading, refused in zip(record["probe"]["readings"], ([True] * 3, [True, True, False], [False] * 3), strict=True):
        reading["refused"] = refused
    told = probe_figures.of_run(record)
    assert told and told.half_life.startswith("2.5 steps [") and "two optimiser steps" in told.lead
    refusals = Tree(told.drawings[0].inline)
    assert [one["x1"] for one in refusals.all("line", "untuned")] == ["62.5%"] and len(refusals.all("path", "mark")) == 3
    assert [drawing.name for drawing in told.drawings] == ["probe-refused", "probe-kl", "probe-drift"]
    (probed.folder / "run.json").write_text(json.dumps(record))
    page = write_report(probed.folder).read_text()
    assert "Safety while it was tuned" in page and "2.5\u00a0steps" in page
    for reading in record["probe"]["readings"]:
        reading["refused"] = [False] * 3
    nothing = probe_figures.of_run(record)
    assert nothing and nothing.half_life == "nothing was refused before tuning"
    assert probe_figures.of_run({"stages": []}) is None
