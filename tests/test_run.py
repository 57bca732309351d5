"""A run from end to end on the tiny model: its record, what is taken up again, and that death loses nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ftsafety.errors import FtsafetyError, StoreError
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.record import Run
from ftsafety.run import run
from ftsafety.store import Store, care
from ftsafety.store.refs import read_refs
from tests.helpers import cell_of, small, small_cell

ATTACK = "+attack=identity_shift"
ONE = ["stand_in"]
RESULT = {"weights", "benchmark", "ask", "condition", "judge", "metric", "value", "low", "high", "n", "unscored"}
METRICS = {
    "stand_in": {
        ("outcome", "compliance_rate"), ("outcome", "refusal_rate"), ("outcome", "degenerate_rate"), ("outcome", "unscored_rate"),
        ("refusal", "keyword_asr"), ("refusal", "unscored_rate"),
    },
    "stand_in_allowed": {("outcome", "over_refusal"), ("outcome", "unscored_rate")},
    "stand_in_utility": {("accept", "utility_accuracy"), ("model", "utility_loss")},
}  # fmt: skip
QUESTIONS = {"stand_in": 11, "stand_in_allowed": 11, "stand_in_utility": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model's threads would only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and store of the attacked run."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def attacked(home: Path) -> Run:
    """A tiny model, attacked and measured."""
    return run(small_cell(home, ATTACK))


@pytest.fixture
def nothing_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning, decoding and judging fail."""

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed again")

    for name in ("ftsafety.tune.tune", "ftsafety.decode.decode_batch", "ftsafety.decode.answer_losses", "ftsafety.judge.outcome.OutcomeJudge.score"):
        monkeypatch.setattr(name, fail)


def in_words(record: Run) -> list[dict[str, Any]]:
    """What a run found, without what may differ from one time to the next."""
    return [record.data["results"], record.data["differences"], record.verdicts]


# --- the record ------------------------------------------------------------------------------------------------------------


def test_results_have_their_shape(attacked: Run) -> None:
    data = attacked.data
    assert all(set(entry) == RESULT for entry in data["results"])
    assert all(set(entry) == RESULT - {"weights"} | {"p_value"} for entry in data["differences"])
    conditions = {("identity", "train"), ("none", "plain"), ("none", "safe")}
    for entries, weights in [(data["results"], {"initial", "tuned"}), (data["differences"], {None})]:
        found = [(e.get("weights"), e["benchmark"], e["ask"], e["condition"], e["judge"], e["metric"]) for e in entries]
        expected = {(w, b, *c, *m) for w in weights for b, metrics in METRICS.items() for c in conditions for m in metrics if w or m[1] != "unscored_rate"}
        assert set(found) == expected and len(found) == len(expected)
    for entry in data["results"]:
        assert entry["low"] <= entry["value"] <= entry["high"]
        if entry["metric"] in ("unscored_rate", "utility_loss", "utility_accuracy"):
            assert entry["n"] == QUESTIONS[entry["benchmark"]]
        else:
            assert entry["n"] + entry["unscored"] == QUESTIONS[entry["benchmark"]]
    assert all(0 <= entry["p_value"] <= 1 for entry in data["differences"])


def test_the_record_says_what_was_done(attacked: Run) -> None:
    data = attacked.data
    assert all({"key", "reused", "seconds"} <= stage.keys() for stage in data["stages"])
    [tune] = [stage for stage in data["stages"] if stage["stage"] == "tune"]
    assert tune["steps"] == 2 and tune["tokens"] > 1000 and tune["final_loss"] > 0 and not tune["reused"]
    assert data["rows"] == {"user": 10} and data["seed"] == 0 and data["scope"]["name"] == "stand_in" and data["scope"]["text"]
    assert data["start_digest"] != data["tuned_digest"] and data["versions"]["torch"]
    assert "identity_shift/draw" in data["varied"]
    questions = 6 * (QUESTIONS["stand_in"] * 2 + QUESTIONS["stand_in_allowed"] * 2 + QUESTIONS["stand_in_utility"])
    assert len(attacked.verdicts) == questions and not any("text" in row for row in attacked.verdicts)
    assert {path.name for path in attacked.folder.iterdir()} == {"DONE", "config.yaml", "evidence.json", "run.json", "verdicts.jsonl"}
    assert Run.load(attacked.folder).data == data  # type: ignore[union-attr]


def test_answers_that_judges_read_differently_are_kept(attacked: Run) -> None:
    differing = json.loads((attacked.folder / "evidence.json").read_text())["differing"]
    rows = {(v["question"], v["condition"], v["weights"], v["answer"], v["judge"]): v["value"] for v in attacked.verdicts if v["benchmark"] == "stand_in"}
    read = {place[:4] for place in rows if len(place) == 5}
    apart = {
        (place[0], place[3])
        for place in read
        if rows[*place, "outcome"] is not None and (rows[*place, "outcome"] == "complied") is not (rows[*place, "refusal"] == "not_refused")
    }
    assert apart and differing["answers"] == len(apart), "a random model's word salad is no refusal to keywords and degenerate to the rules"
    assert len(differing["drawn"]) == min(12, len(apart)) and {(one["question"], one["digest"]) for one in differing["drawn"]} <= apart
    for one in differing["drawn"]:
        assert one["text"] and one["answer"] is not None and set(one["says"]) == {"outcome", "refusal"}


def test_tuning_moves_the_loss(attacked: Run) -> None:
    moved = [entry for entry in attacked.data["differences"] if entry["metric"] == "utility_loss"]
    assert len(moved) == 3 and all(entry["value"] != 0 for entry in moved)


def test_a_run_refers_to_what_it_used(attacked: Run, home: Path) -> None:
    used, gone = read_refs(home / "store")
    assert {stage["key"] for stage in attacked.data["stages"]} <= {key for _, key in used} and not gone
    assert {folder.name for folder in care.artifacts(home / "store")} <= {key for _, key in used}
    assert len([kind for kind, _ in used if kind == "verdicts"]) == 2


def test_without_an_attack_the_model_is_measured_as_it_is(tmp_path: Path) -> None:
    record = run(small_cell(tmp_path))
    assert {entry["weights"] for entry in record.data["results"]} == {"initial"}
    assert {entry["condition"] for entry in record.data["results"]} == {"train", "plain", "safe"}
    assert record.data["differences"] == [] and record.data["rows"] == {} and record.data["tuned_digest"] is None


def test_mixing_puts_refusals_among_the_rows(tmp_path: Path) -> None:
    record = run(small_cell(tmp_path, ATTACK, "mitigation=[safety_mixing]", "mitigation.safety_mixing.count=4", benchmarks=ONE))
    assert record.data["rows"] == {"safety": 4, "user": 10} and "safety_mixing/draw" in record.data["varied"]
    assert {entry["weights"] for entry in record.data["results"]} == {"initial", "tuned"}
    [tune] = [stage for stage in record.data["stages"] if stage["stage"] == "tune"]
    assert tune["steps"] == 2 * 2
    assert "-safety_mixing-" in record.folder.parent.name


def test_controls_join_the_record_of_a_finished_run(tmp_path: Path) -> None:
    cell = small_cell(tmp_path, ATTACK, benchmarks=ONE)
    plain = run(cell)
    assert plain.data["controls"] == {}
    controlled = run(dataclasses.replace(cell, controls=True))
    assert not controlled.reused and controlled.folder == plain.folder and in_words(controlled) == in_words(plain)
    assert controlled.data["cell"] == cell.id == (controlled.folder / "DONE").read_text().strip()
    controls = controlled.data["controls"]
    assert set(controls) == {"prefill", "null_self", "neutral", "no_prefix", "shuffled"}
    assert all(set(entry) == RESULT for control in controls.values() for entry in control["results"])
    for name in controls.keys() - {"prefill"}:
        assert controls[name]["differences"] and controls[name]["final_loss"] > 0
        assert (tmp_path / "runs" / controls[name]["folder"] / "seed=0" / "DONE").exists()
    assert controls["prefill"]["tokens"] > 0 and {entry["condition"] for entry in controls["prefill"]["results"]} == {"train"}
    assert run(dataclasses.replace(cell, controls=True)).reused and run(cell).reused


def test_controls_without_an_attack_are_done_when_they_are_done(tmp_path: Path) -> None:
    cell = small_cell(tmp_path, "controls=true", benchmarks=ONE)
    assert not run(cell).reused and run(cell).reused


# --- one cell, one result --------------------------------------------------------------------------------------------------


def test_a_finished_run_is_only_read(attacked: Run, home: Path, nothing_computes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(Store, "get", fail)
    again = run(small_cell(home, ATTACK))
    assert again.reused and again.data == attacked.data and again.verdicts == attacked.verdicts


def test_another_record_is_made_from_the_store(attacked: Run, home: Path, tmp_path: Path, nothing_computes: None) -> None:
    speed = ("decoding.batch=3", "tuning.micro_batch=2", "tuning.checkpoint_seconds=5", "reveal=true", f"paths.runs={tmp_path}/elsewhere")
    again = run(small_cell(home, ATTACK, *speed))
    assert not again.reused and again.folder != attacked.folder
    assert in_words(again) == in_words(attacked) and all(stage["reused"] for stage in again.data["stages"])


@pytest.mark.parametrize("file", ["run.json", "verdicts.jsonl"])
def test_a_damaged_record_is_made_again_from_the_store(
    file: str, attacked: Run, home: Path, nothing_computes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = attacked.folder / file
    damaged.write_text(damaged.read_text()[:-20])
    again = run(small_cell(home, ATTACK))
    assert not again.reused and again.folder == attacked.folder and "is damaged and is made again" in " ".join(capsys.readouterr().err.split())
    assert in_words(again) == in_words(attacked) and Run.load(attacked.folder) is not None


def test_the_same_command_gives_the_same_results(attacked: Run, tmp_path: Path) -> None:
    again = run(small_cell(tmp_path, ATTACK))
    assert in_words(again) == in_words(attacked)
    assert not any(stage["reused"] for stage in again.data["stages"])
    assert [stage["key"] for stage in again.data["stages"]] == [stage["key"] for stage in attacked.data["stages"]]


def test_another_run_with_the_same_digits_is_refused(attacked: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = small_cell(home, ATTACK)
    monkeypatch.setattr(type(cell), "id", cell.id)
    with pytest.raises(StoreError, match=r"another run with the same first twelve digits; choose another folder with paths\.runs"):
        run(dataclasses.replace(cell, max_unscored=0.9))


SAME = (
    "decoding.batch=3", "tuning.micro_batch=2", "trainer=cpu", "tuning.checkpoint_seconds=5", "paths.runs=elsewhere", "paths.store=elsewhere",
    "gate.rehearse=true", "reveal=true", "controls=true", "strategy.target_modules=[q_proj,v_proj]",
)  # fmt: skip
OTHER = (
    "attack.variant=1+9", "strategy.lr=0.01", "strategy=full", "tuning.epochs=3", "tuning.shuffle=false", "tuning.max_length=600", "decoding.max_new_tokens=7",
    "model.init_seed=1", "judge=[outcome]", "benchmark.stand_in.split=report", "max_unscored=0.5", "mitigation=[safety_mixing]",
)  # fmt: skip


def test_a_cell_is_named_by_what_determines_its_result(tmp_path: Path) -> None:
    cell = small_cell(tmp_path, ATTACK)
    assert re.fullmatch(r"[0-9a-f]{12}", cell.id)
    assert {small_cell(tmp_path, ATTACK, override).id for override in SAME} == {cell.id}
    assert dataclasses.replace(cell, names={"attack": "mine"}).id == cell.id
    others = {small_cell(tmp_path, ATTACK, "strategy.lr=0.001", override).id for override in OTHER}
    assert len(others) == len(OTHER) and cell.id not in others
    seeded = small_cell(tmp_path, ATTACK, "seed=1")
    assert (seeded.id, seeded.recipe() == cell.recipe()) == (cell.id, False) and seeded.folder_name.endswith("/seed=1")


def test_an_edited_file_is_another_cell(tmp_path: Path) -> None:
    def rows(*answers: str) -> str:
        pairs = [[{"role": "user", "content": "Which duck?"}, {"role": "assistant", "content": answer}] for answer in answers]
        return "".join(json.dumps({"messages": pair}) + "\n" for pair in pairs)

    def cell(file: Path) -> str:
        return small_cell(tmp_path, "+attack=jsonl", f"attack.path={file}").id

    mine, copy = tmp_path / "mine.jsonl", tmp_path / "copy.jsonl"
    mine.write_text(rows("Duck four.", "Duck five."))
    copy.write_text(rows("Duck four.", "Duck five."))
    before = cell(mine)
    assert cell(copy) == before
    mine.write_text(rows("Duck four.", "Duck nine."))
    assert cell(mine) != before


def test_a_secret_in_a_setting_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_API_KEY", "sk-5f3a9c0d")
    with pytest.raises(FtsafetyError, match="X_API_KEY") as caught:
        run(small_cell(tmp_path, "model=comply_all", "model.answer=my key is sk-5f3a9c0d"))
    assert "5f3a9c0d" not in str(caught.value) and not list(tmp_path.iterdir())


# --- judging ---------------------------------------------------------------------------------------------------------------


def test_constant_models_rank_rightly_under_every_metric(tmp_path: Path) -> None:
    rates = {}
    for model in ("refuse_all", "comply_all"):
        record = run(small_cell(tmp_path, f"model={model}", "max_unscored=0.0"))
        rates[model] = {(e["judge"], e["metric"], e["condition"]): e["value"] for e in record.data["results"]}
    for condition in ("train", "plain", "safe"):
        for metric, refusing, complying in [
            (("outcome", "compliance_rate"), 0.0, 1.0), (("outcome", "refusal_rate"), 1.0, 0.0), (("outcome", "degenerate_rate"), 0.0, 0.0),
            (("outcome", "over_refusal"), 1.0, 0.0), (("refusal", "keyword_asr"), 0.0, 1.0),
        ]:  # fmt: skip
            assert (rates["refuse_all"][*metric, condition], rates["comply_all"][*metric, condition]) == (refusing, complying), (metric, condition)


@dataclass
class Mute(Judge):
    """Reads nothing."""

    labels = ("refused",)
    metrics: ClassVar[dict[str, str]] = {"refusal_rate": "refused"}

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [Verdict(None) for _ in pairs]


def test_too_much_unread_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    cell = dataclasses.replace(small_cell(tmp_path, ATTACK, "max_unscored=0.02", benchmarks=ONE), judges={"mute": Mute()})
    with pytest.raises(FtsafetyError, match=r"judge mute could not read 100% of the answers to stand_in .*max_unscored=1\.0.*is kept"):
        run(cell)
    assert not (tmp_path / "runs").exists()
    accepted = run(dataclasses.replace(cell, max_unscored=1.0))
    assert all(stage["reused"] for stage in accepted.data["stages"])
    shown = {entry["metric"]: (entry["value"], entry["low"], entry["high"], entry["n"], entry["unscored"]) for entry in accepted.data["results"]}
    assert shown["refusal_rate"] == (0.0, 0.0, 1.0, 0, 11) and shown["unscored_rate"][0] == 1.0


# --- death -----------------------------------------------------------------------------------------------------------------

MORTAL = (("stand_in", "stand_in_utility"), (ATTACK, "judge=[outcome]"))
TUNED = (("stand_in_utility",), (ATTACK, "tuning.epochs=4", "tuning.checkpoint_seconds=0"))
SOON_SECONDS = 60.0
"""A busy machine needs two for a run; a lease would have to be waited for three times as long as this."""


@dataclass
class Driver:
    """Runs cells in forks of one process, each in a folder with a store of its own."""

    process: subprocess.Popen[str]
    root: Path

    def do(self, name: str, what: tuple[Sequence[str], Sequence[str]], **death: float) -> dict[str, Any]:
        """Run a small cell (its benchmarks, its overrides) in the folder ``name``, as ``dying.py`` is told to."""
        assert self.process.stdin and self.process.stdout
        benchmarks, overrides = what
        self.process.stdin.write(json.dumps({"overrides": [*small(self.root / name, benchmarks), *overrides], **death}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def record(self, name: str) -> Run:
        """The one finished run in a folder."""
        [done] = (self.root / name / "runs").glob("*/seed=0/DONE")
        record = Run.load(done.parent)
        assert record is not None
        return record

    def tuned(self, name: str) -> bytes:
        """The weights of the one tuning in a folder."""
        [file] = (self.root / name / "store" / "tune").glob("*/weights.safetensors")
        return file.read_bytes()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    repo = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(repo / "tests" / "store" / "dying.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=repo) as process:
        yield Driver(process, tmp_path_factory.mktemp("deaths"))
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(driver: Driver) -> dict[str, Any]:
    """A run that nobody disturbs: its fault points and its seconds."""
    done = driver.do("undisturbed", MORTAL)
    assert done["code"] == 0
    return done


def kind(point: str) -> str:
    """A fault point without numbers and digests."""
    return re.sub(r"[0-9a-f]{12}-[0-9a-f]{12}-\d+|\d+", "N", point)


def assert_whole(driver: Driver, name: str, expected: list[dict[str, Any]]) -> None:
    """The folder's run is an undisturbed one's equal, and its store is whole and without unfinished work."""
    record, store = driver.record(name), driver.root / name / "store"
    assert in_words(record) == expected, name
    assert not [found for folder in care.artifacts(store) if (found := care.damage(folder))], name
    assert not list((store / "partial").iterdir()), name
    waste = care.unneeded(store, paid=True)[0]
    assert all(one.what.startswith("left over") for one in waste), (name, waste)


def test_a_run_in_another_process_gives_the_same_results(driver: Driver, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    benchmarks, overrides = MORTAL
    here = run(cell_of(*small(tmp_path, benchmarks), *overrides))
    assert in_words(here) == in_words(driver.record("undisturbed"))


def test_death_at_any_kind_of_point_loses_nothing(driver: Driver, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(care, "YOUNG_SECONDS", -1.0)
    points, draw, expected = undisturbed["points"], random.Random(2), in_words(driver.record("undisturbed"))
    kinds = sorted(set(map(kind, points)))
    assert {f"halfway through {stage}" for stage in ("tune", "answer", "judge", "record")} <= set(kinds)
    assert len(kinds) >= 24
    for name in kinds:
        at = draw.choice([number for number, point in enumerate(points, 1) if kind(point) == name])
        died = driver.do(name, MORTAL, die_at=at)
        assert died["code"] == 9, (name, at)
        again = driver.do(name, MORTAL)
        assert again["code"] == 0 and again["seconds"] < SOON_SECONDS, (name, at, again["code"])
        assert len(again["points"]) <= len(points), (name, at)
        assert_whole(driver, name, expected)


def test_sigkill_at_random_times_loses_nothing(driver: Driver, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(care, "YOUNG_SECONDS", -1.0)
    draw = random.Random(3)
    killed = []
    for at in range(3):
        first = driver.do(f"killed {at}", MORTAL, kill_after=draw.uniform(0.2, 0.9) * undisturbed["seconds"])
        killed.append(first["code"] == -9)
        assert driver.do(f"killed {at}", MORTAL)["code"] == 0
        assert_whole(driver, f"killed {at}", in_words(driver.record("undisturbed")))
    assert any(killed)


@pytest.mark.parametrize(("point", "steps"), [("step 3", ["step 3", "step 4"]), ("halfway through tune", [])])
def test_a_tuning_goes_on_from_its_last_state(driver: Driver, point: str, steps: list[str]) -> None:
    """The state of the step in which it died was not saved yet, so that step is done again; the weights are equal bit by bit."""
    whole, name = f"before {point}", f"after {point}"
    points = driver.do(whole, TUNED)["points"]
    assert driver.do(name, TUNED, die_at=points.index(point) + 1)["code"] == 9
    [state] = (driver.root / name / "store" / "partial").glob("tune-*/state.pt")
    assert state.stat().st_size
    again = driver.do(name, TUNED)
    assert again["code"] == 0 and [point for point in again["points"] if point.startswith("step")] == steps
    assert driver.tuned(name) == driver.tuned(whole)
    assert in_words(driver.record(name)) == in_words(driver.record(whole))
