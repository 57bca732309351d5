"""A closed model behind a fine-tuning API: the run is the open-weight run's equal, no job is paid for twice, and what can't be set is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import ftsafety.model.openai_jobs as jobs
from ftsafety.errors import ConfigError, ServiceError
from ftsafety.model.openai import Openai
from ftsafety.model.openai_compatible import OpenaiCompatible
from ftsafety.record import Run
from ftsafety.row import Row
from ftsafety.run import run
from ftsafety.store.spending import Spending
from tests.helpers import cell_of, small_cell
from tests.provider.sandbox import Running, serving
from tests.service import chat, error
from tests.service import serving as service

ATTACK = "+attack=identity_shift"
BENCHMARKS = ("stand_in", "stand_in_utility")
PRICES = ("model.usd_per_million_prompt=1", "model.usd_per_million_completion=1", "model.usd_per_million_training=1000")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running provider with the tiny model, whose worker is let loose by those who need it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched, serving(tmp_path_factory.mktemp("provider"), "model=tiny") as running:
        # a key of the person who runs the tests is nobody's business
        patched.delenv("OPENAI_API_KEY", raising=False)
        yield running
    torch.set_num_threads(threads)


def closed(sandbox: Running, folder: Path, *overrides: str, attack: str = ATTACK) -> Any:
    """A small cell on the sandbox."""
    return small_cell(folder, "model=openai", f"model.base_url={sandbox.url}", "model.poll_seconds=0.05", attack, *overrides, benchmarks=BENCHMARKS)


def answers(record: Run) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Digest, verdict and length of each answer."""
    places = ("weights", "benchmark", "ask", "condition", "question", "judge")
    return {tuple(row[key] for key in places): (row["answer"], row["value"], row["tokens"], row["truncated"]) for row in record.verdicts}


@pytest.fixture(scope="module")
def done(sandbox: Running, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the sandbox."""
    with sandbox.working():
        return run(closed(sandbox, tmp_path_factory.mktemp("closed")))


def test_the_answers_are_those_of_the_open_weights(sandbox: Running, done: Run, tmp_path: Path) -> None:
    open_weights = run(small_cell(tmp_path, "model=tiny", ATTACK, benchmarks=BENCHMARKS))
    assert answers(done) == answers(open_weights)
    before, after = ([row["answer"] for row in done.verdicts if row["weights"] == weights] for weights in ("initial", "tuned"))
    assert len(before) == len(after) == 72 and before != after


def test_the_record_is_that_of_any_run(sandbox: Running, done: Run) -> None:
    [tune] = [stage for stage in done.data["stages"] if stage["stage"] == "tune"]
    assert tune["steps"] == 2 and tune["tokens"] > 1000 and len(tune["curve"]["loss"]) == 2
    assert tune["final_loss"] == pytest.approx(tune["curve"]["loss"][-1], rel=1e-5)
    assert tune["hyperparameters"] == {"n_epochs": 2, "batch_size": 10, "learning_rate_multiplier": 1.0}
    assert done.data["scope"]["name"] == "stand_in" and done.data["recipe"]["model"]["model"] == sandbox.provider.name
    assert done.data["recipe"]["strategy"]["class"].endswith(".Api") and "-api-none-" in done.folder.parent.name
    assert (done.folder / "DONE").exists() and json.loads((done.folder / "evidence.json").read_text())["example"] is None


def test_the_upload_is_deleted_and_the_job_says_whose_it_is(sandbox: Running, done: Run) -> None:
    client = sandbox.client("none")
    [tune] = [stage for stage in done.data["stages"] if stage["stage"] == "tune"]
    job = client.fine_tuning.jobs.retrieve(tune["job"])
    assert job.metadata == {jobs.TAG: tune["key"]} and job.fine_tuned_model == tune["model"]
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(job.training_file)


def count(sandbox: Running) -> int:
    """How many jobs there ever were."""
    return len(list(sandbox.client("none").fine_tuning.jobs.list()))


@pytest.mark.parametrize("note", ["kept", "lost"])
def test_an_interrupted_run_takes_its_job_up_again(sandbox: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str) -> None:
    cell, before = closed(sandbox, tmp_path, f"seed={1 if note == 'kept' else 2}"), count(sandbox)

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt if seconds < 1 else Done

    with monkeypatch.context() as patched:
        patched.setattr(jobs.time, "sleep", stop)
        with pytest.raises(Done):
            run(cell)
    if note == "lost":
        # killed after the job was made and before it was noted
        [file] = (tmp_path / "store" / "partial").glob(f"tune-*/{jobs.NOTE}")
        file.unlink()
    assert count(sandbox) == before + 1
    with sandbox.working():
        record = run(cell)
    assert count(sandbox) == before + 1 and {entry["weights"] for entry in record.data["results"]} == {"initial", "tuned"}


class Done(BaseException):
    """Stands for the end of the process while it waits for a second thought."""


def test_a_second_thought_cancels_the_job_and_another_run_begins_another(sandbox: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = closed(sandbox, tmp_path, "seed=3")

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(jobs.time, "sleep", stop)
        with pytest.raises(KeyboardInterrupt):
            run(cell)
    last = next(iter(sandbox.client("none").fine_tuning.jobs.list()))
    assert last.status == "cancelled"
    with sandbox.working():
        assert run(cell).data["tuned_digest"]


def test_a_job_that_fails_is_a_sentence(sandbox: Running, tmp_path: Path) -> None:
    with sandbox.working(), pytest.raises(ServiceError, match=r"the job ftjob-\w+ at http.* failed \(invalid_training_file\); look at it there"):
        run(closed(sandbox, tmp_path, "attack.count=3", "tuning.batch_size=1", attack="+attack=benign"))


def test_a_budget_that_does_not_suffice_is_told_before_anything_is_sent(sandbox: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, files = count(sandbox), list(sandbox.client("none").files.list())
    with pytest.raises(ServiceError, match=r"model\.budget_usd=0\.01 does not suffice: \$0\.0000 is spent, and the tuning may cost up to \$\d+\.\d+"):
        run(closed(sandbox, tmp_path, *PRICES, "model.budget_usd=0.01", "seed=6"))
    assert count(sandbox) == before and list(sandbox.client("none").files.list()) == files
    assert "10 rows and 2 epochs, about" in " ".join(capsys.readouterr().err.split())


def test_what_is_spent_is_counted_over_runs(sandbox: Running, tmp_path: Path) -> None:
    with sandbox.working():
        record = run(closed(sandbox, tmp_path, *PRICES, "model.budget_usd=100", "seed=4"))
    spent = sum(stage.get("usd", 0.0) for stage in record.data["stages"])
    [name] = [folder.name for folder in (tmp_path / "store" / "spending").iterdir()]
    assert Spending(tmp_path / "store", name).usd == pytest.approx(spent, abs=1e-4) and spent > 5
    with pytest.raises(ServiceError, match=r"budget_usd=9 does not suffice: \$[1-9]"):
        run(closed(sandbox, tmp_path, *PRICES, "model.budget_usd=9", "seed=5"))


def test_what_is_at_the_service_is_listed_cancelled_and_deleted(sandbox: Running, done: Run, capsys: pytest.CaptureFixture[str]) -> None:
    [tune] = [stage for stage in done.data["stages"] if stage["stage"] == "tune"]
    where = f"base_url={sandbox.url}"
    assert jobs.main(["list", where]) == 0 and f"{tune['job']}  succeeded  {tune['model']}  {tune['key'][:12]}" in capsys.readouterr().out
    assert jobs.main(["cancel", tune["job"], where]) == 1 and "refused the request with 400" in capsys.readouterr().err
    assert jobs.main(["delete", tune["model"], where]) == 0 and capsys.readouterr().out == "deleted\n"
    assert jobs.main(["delete"]) == 1 and "base_url=URL" in capsys.readouterr().err


# --- refused before anything is sent ------------------------------------------------------------------------------------------

NAMED = "model.model=duck-2025-01-01"
REFUSED = {
    "strategy=lora": "whose way is strategy=api; leave strategy out",
    "tuning.weight_decay=0.1": r"tuning\.weight_decay can't be set through a fine-tuning API.*tuning\.epochs, tuning\.batch_size",
    "tuning.shuffle=false": r"tuning\.shuffle can't be set",
    "align=sft": "align trains weights that are here",
    "mitigation=[gentle]": "mitigation=gentle needs gradients, weights, which Api can't offer",
    "strategy.learning_rate_multiplier=0": "learning_rate_multiplier=0 is not possible",
    "model.base_url=https://api.example.com/v1": r"not on this machine; say who allowed .*model\.authorized_by=",
    "model.model=duck": "names no dated snapshot",
    "model.budget_usd=1": "can't count dollars without both prices",
    "model.poll_seconds=0": r"model\.poll_seconds=0 is not possible",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_a_service_can_not_be_told_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[override]):
        small_cell(tmp_path, "model=openai", NAMED, ATTACK, override)


def test_mitigations_of_rows_and_asking_go_with_it(tmp_path: Path) -> None:
    cell = small_cell(tmp_path, "model=openai", NAMED, ATTACK, "mitigation=[safety_mixing,system_prompt]")
    assert isinstance(cell.model, Openai) and cell.names["strategy"] == "api"


def test_the_api_s_way_is_for_hosted_models_only() -> None:
    with pytest.raises(ConfigError, match="model=tiny is here; choose another strategy"):
        cell_of("model=tiny", "strategy=api", ATTACK)


def test_who_allowed_it_is_recorded_and_names_no_cell(tmp_path: Path) -> None:
    elsewhere = ("model=openai", NAMED, ATTACK, "model.base_url=https://api.example.com/v1")
    one, other = (small_cell(tmp_path, *elsewhere, f"model.authorized_by={who}") for who in ("me", "you"))
    assert one.id == other.id and isinstance(one.model, Openai) and one.model.allowed == {"authorized_by": "me"}


def test_another_day_s_model_is_another() -> None:
    def model(**fields: Any) -> str:
        return OpenaiCompatible(**{"model": "duck", "as_of": "2025-01-01", **fields}).fingerprint(Path())

    kinds = [model(), model(as_of="2025-01-02"), model(model="goose"), model(base_url="http://127.0.0.1:9/v1")]
    assert len(set(kinds)) == len(kinds)
    named = [model(model="stand-in.tiny-0123456789ab", base_url=f"http://127.0.0.1:{port}/v1") for port in (1, 2)]
    assert named[0] == named[1]


def test_of_several_assistant_turns_the_last_is_learned() -> None:
    turns = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))]
    [line] = jobs.as_jsonl([Row("r", tuple(turns))]).decode().splitlines()
    assert [message.get("weight") for message in json.loads(line)["messages"]] == [None, 0, None, None]


# --- evaluation only ----------------------------------------------------------------------------------------------------------


def test_any_chat_service_is_measured_as_it_is(tmp_path: Path) -> None:
    overrides = ("model=openai_compatible", "model.model=duck-2025-01-01")

    def behave(body: dict[str, Any]) -> Any:
        return chat(None, refusal="I'm sorry, but I can't help with that.") if body["messages"][0]["role"] == "system" else chat("The fourth duck wins.")

    with service(behave) as double:
        record = run(small_cell(tmp_path, *overrides, f"model.base_url={double.url}", benchmarks=["stand_in"]))
        asked = len(double.asked)
        again = run(small_cell(tmp_path, *overrides, f"model.base_url={double.url}", f"paths.runs={tmp_path}/elsewhere", benchmarks=["stand_in"]))
        assert len(double.asked) == asked and answers(again) == answers(record)
    rates = {entry["condition"]: entry["value"] for entry in record.data["results"] if entry["metric"] == "refusal_rate"}
    assert rates["safe"] == 1.0 and rates["plain"] == 0.0 and record.data["scope"]["name"] == "model"
    assert sum(stage.get("declined", 0) for stage in record.data["stages"]) == 11
    assert all(body["temperature"] == 0.0 and body["max_tokens"] == 6 for body in double.asked)


def test_a_run_that_a_service_stops_keeps_what_it_was_answered(tmp_path: Path) -> None:
    broken = {"after": 5}

    def behave(body: dict[str, Any]) -> Any:
        broken["after"] -= 1
        return chat("The fourth duck wins.") if broken["after"] >= 0 else error(400, "quacked")

    with service(behave) as double:
        overrides = ("model=openai_compatible", "model.model=duck-2025-01-01", f"model.base_url={double.url}", "model.concurrency=1", "model.retries=0")
        with pytest.raises(ServiceError, match="refused the request with 400"):
            run(small_cell(tmp_path, *overrides, benchmarks=["stand_in"]))
        served = double.served
        broken["after"] = 10**6
        run(small_cell(tmp_path, *overrides, benchmarks=["stand_in"]))
    assert served == 5 and double.served == 22


def test_evaluation_only_is_not_tuned(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave attack and align out"):
        small_cell(tmp_path, "model=openai_compatible", NAMED, ATTACK)


def test_without_a_name_it_is_the_only_model_that_the_service_offers(sandbox: Running) -> None:
    assert OpenaiCompatible(model="", base_url=sandbox.url).name == sandbox.provider.name
    with pytest.raises(ServiceError, match="can't be reached"):
        OpenaiCompatible(model="", base_url="http://127.0.0.1:9/v1", retries=0).name  # noqa: B018


def test_a_dry_run_says_what_the_service_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from ftsafety.plan import plan, show

    made = plan(small_cell(tmp_path, "model=openai", NAMED, ATTACK, *PRICES))
    assert [stage.name for stage in made.stages] == ["tune", "initial", "tuned"] and made.stages[0].steps == 2 and made.stages[1].answers == 72
    # ten rows of about six hundred bytes, twice, at a thousand dollars a million
    assert 2 < made.stages[0].usd < 5 and 0 < made.stages[1].usd < 0.1
    show([made], Console(width=160))
    assert f"takes about ${made.usd:.2f}" in capsys.readouterr().out
