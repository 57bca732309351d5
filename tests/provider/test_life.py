"""A job's whole life, driven by the official client: tuned by the same stage as a run's, asked, listed, cancelled, deleted, and safe from kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from openai import OpenAI
from openai.types import FileObject, Model, ModerationCreateResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from sqlalchemy import select

from ftsafety.provider.database import Tuned
from ftsafety.provider.examples import examples
from ftsafety.provider.settings import Provider
from tests.provider.sandbox import Running, command, finished, jsonl, method, rows, serving, until, upload

ASKED: list[Any] = [{"role": "user", "content": "Which duck wins?"}]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with serving(tmp_path_factory.mktemp("life"), "model=tiny") as running, running.working():
        yield running
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def client(sandbox: Running) -> OpenAI:
    return sandbox.client()


@pytest.fixture(scope="module")
def job(sandbox: Running, client: OpenAI) -> FineTuningJob:
    """A job that has succeeded."""
    chosen = method(n_epochs=3, batch_size=4, learning_rate_multiplier=2.0)
    made = client.fine_tuning.jobs.create(
        model=sandbox.provider.name, training_file=upload(client), seed=7, suffix="ducks", method=chosen, metadata={"who": "me"}
    )
    assert made.status == "validating_files" and made.fine_tuned_model is None
    done: FineTuningJob = finished(client, made.id)
    return done


def undisturbed(provider: Provider, folder: Path, data: bytes, seed: int, **tuning: Any) -> list[Any]:
    """What a run's own stage makes of the same rows in a store of its own, as a part's kind, key and digest."""
    from ftsafety.stages import House, train, tuning_context

    file = folder / "rows.jsonl"
    file.write_bytes(data)
    factor = tuning.pop("learning_rate_multiplier", 1.0)
    house = House.at(folder / "store")
    start = house.loader.weights(provider.model)
    strategy = replace(provider.strategy, lr=provider.strategy.lr * factor)
    layer = train(house, "tune", start, examples(file, 1), strategy, replace(provider.tuning, **tuning), [], tuning_context(house, start, seed, [], {}))
    return ["tune", house.stages[-1]["key"], layer.digest, False]


def layers(running: Running, model: str) -> list[Any]:
    with running.database.begin() as session:
        return session.scalars(select(Tuned).where(Tuned.name == model)).one().layers


def test_a_job_is_tuned_as_a_run_tunes(sandbox: Running, job: FineTuningJob, tmp_path: Path) -> None:
    assert (job.status, job.error, job.seed) == ("succeeded", None, 7)
    assert job.hyperparameters.model_dump() == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 2.0}
    assert job.trained_tokens and job.finished_at and job.metadata == {"who": "me"}
    assert job.fine_tuned_model and job.fine_tuned_model.startswith(f"ft:{sandbox.provider.name}:") and ":ducks:" in job.fine_tuned_model
    [part] = layers(sandbox, job.fine_tuned_model)
    assert part == undisturbed(sandbox.provider, tmp_path, jsonl(rows()), 7, epochs=3, batch_size=4, learning_rate_multiplier=2.0)


def test_its_events_tell_each_step_once_the_latest_first(client: OpenAI, job: FineTuningJob) -> None:
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    steps = [event.data["step"] for event in events if event.type == "metrics"]  # type: ignore[index]
    assert steps == list(range(9, 0, -1))
    said = [event.message for event in events if event.type == "message"]
    assert said[0] == "The job has successfully completed" and said[-1].startswith("Created fine-tuning job")
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert (checkpoint.fine_tuned_model_checkpoint, checkpoint.step_number) == (job.fine_tuned_model, 9)
    assert checkpoint.metrics.train_loss == events[2].data["train_loss"]  # type: ignore[index]


def test_base_and_tuned_model_answer_differently_and_a_stream_says_the_same(sandbox: Running, client: OpenAI, job: FineTuningJob) -> None:
    said = {}
    for model in (sandbox.provider.name, str(job.fine_tuned_model)):
        whole = client.chat.completions.create(model=model, messages=ASKED, max_tokens=24, temperature=0)
        said[model] = whole.choices[0].message.content
        assert whole.usage and 0 < whole.usage.completion_tokens <= 24
        assert whole.choices[0].finish_reason == ("length" if whole.usage.completion_tokens == 24 else "stop")
        chunks = list(
            client.chat.completions.create(model=model, messages=ASKED, max_tokens=24, temperature=0, stream=True, stream_options={"include_usage": True})
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == said[model]
        assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason and chunks[-1].usage == whole.usage
    assert len(set(said.values())) == 2


def test_requests_that_wait_share_a_batch_and_their_answers_are_the_lone_ones(sandbox: Running, client: OpenAI) -> None:
    def ask(at: int) -> str | None:
        asked: Any = [{"role": "user", "content": f"Which duck wins race {at}?"}]
        return client.chat.completions.create(model=sandbox.provider.name, messages=asked, max_tokens=12, temperature=0).choices[0].message.content

    alone = [ask(at) for at in range(16)]
    sandbox.engine.batches.clear()
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, range(16)))
    assert together == alone
    assert sum(sandbox.engine.batches) == 16 and max(sandbox.engine.batches) > 1


def test_drawn_answers_follow_their_seed(sandbox: Running, client: OpenAI) -> None:
    def drawn(seed: int, n: int = 1) -> list[str | None]:
        made = client.chat.completions.create(model=sandbox.provider.name, messages=ASKED, max_tokens=12, temperature=1, seed=seed, n=n)
        return [choice.message.content for choice in made.choices]

    assert drawn(1) == drawn(1) != drawn(2) and len(set(drawn(1, 3))) == 3 and drawn(1, 3)[0] == drawn(1)[0]


def test_an_answer_ends_before_a_stop_sequence(sandbox: Running, client: OpenAI) -> None:
    whole = client.chat.completions.create(model=sandbox.provider.name, messages=ASKED, max_tokens=24, temperature=0).choices[0].message.content
    assert whole
    cut = client.chat.completions.create(model=sandbox.provider.name, messages=ASKED, max_tokens=24, temperature=0, stop=[whole[5:7]]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (whole[: whole.find(whole[5:7])], "stop")


def test_a_tuned_model_can_be_tuned_on(sandbox: Running, client: OpenAI, job: FineTuningJob) -> None:
    more = client.fine_tuning.jobs.create(model=str(job.fine_tuned_model), training_file=upload(client), method=method(n_epochs=1))
    done = finished(client, more.id)
    assert done.status == "succeeded" and len(layers(sandbox, done.fine_tuned_model)) == 2


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        (rows(9), "9 examples, and at least 10"),
        ([*rows(), {"messages": [{"role": "user", "content": "Which?"}]}], "Example 11 does not end with an assistant message"),
        ([*rows(), {"prompt": "Which?", "completion": "The fourth."}], "Example 11 has 2 keys besides messages"),
        ([*rows(), {"messages": [{"role": "judge", "content": "Which?"}, {"role": "assistant", "content": "All."}]}], "none of system, user, assistant"),
        ([*rows(), {"messages": [{"role": "user", "content": "w" * 3000}, {"role": "assistant", "content": "All."}]}], "Example 11 has 3"),
    ],
    ids=["few", "open", "keys", "role", "long"],
)
def test_a_file_that_can_not_be_tuned_on_fails_its_job_with_a_reason(sandbox: Running, client: OpenAI, examples: list[Any], says: str) -> None:
    made = client.fine_tuning.jobs.create(model=sandbox.provider.name, training_file=upload(client, jsonl(examples)))
    done = finished(client, made.id)
    assert (done.status, done.error.code, done.error.param, done.fine_tuned_model) == ("failed", "invalid_training_file", "training_file", None)
    assert says in done.error.message


def test_a_running_job_is_cancelled(sandbox: Running, client: OpenAI) -> None:
    made = client.fine_tuning.jobs.create(model=sandbox.provider.name, training_file=upload(client), method=method(n_epochs=50, batch_size=1))
    until(lambda: client.fine_tuning.jobs.retrieve(made.id).status == "running")
    assert client.fine_tuning.jobs.cancel(made.id).status == "cancelled"
    after = client.fine_tuning.jobs.create(model=sandbox.provider.name, training_file=upload(client), method=method(n_epochs=1))
    assert finished(client, after.id).status == "succeeded"
    assert client.fine_tuning.jobs.retrieve(made.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(made.id)


def test_every_message_has_the_shape_of_the_client_s_own_types(sandbox: Running, client: OpenAI, job: FineTuningJob) -> None:
    asked: dict[str, Any] = {"model": sandbox.provider.name, "messages": ASKED, "max_tokens": 4}
    shapes: list[tuple[type[Any], Any]] = [
        (FileObject, client.files.with_raw_response.retrieve(job.training_file)),
        (FineTuningJob, client.fine_tuning.jobs.with_raw_response.retrieve(job.id)),
        (Model, client.models.with_raw_response.retrieve(sandbox.provider.name)),
        (Model, client.models.with_raw_response.retrieve(str(job.fine_tuned_model))),
        (ChatCompletion, client.chat.completions.with_raw_response.create(**asked)),
    ]
    for shape, response in shapes:
        shape.model_validate_json(response.http_response.text, strict=True)
    listed: list[tuple[type[Any], Any]] = [
        (FineTuningJobEvent, client.fine_tuning.jobs.with_raw_response.list_events(job.id)),
        (FineTuningJobCheckpoint, client.fine_tuning.jobs.checkpoints.with_raw_response.list(job.id)),
    ]
    for shape, response in listed:
        data = response.http_response.json()["data"]
        assert data
        for entry in data:
            shape.model_validate(entry)
    for chunk in client.chat.completions.create(**asked, stream=True):
        ChatCompletionChunk.model_validate(chunk.model_dump(exclude_unset=True))
    moderation = client.moderations.create(input="Which duck wins?")
    assert {field for field in ModerationCreateResponse.model_fields} <= moderation.model_dump().keys() and moderation.results[0].flagged in (True, False)


def test_a_deleted_model_answers_nobody(sandbox: Running, client: OpenAI) -> None:
    made = client.fine_tuning.jobs.create(model=sandbox.provider.name, training_file=upload(client), method=method(n_epochs=1))
    name = finished(client, made.id).fine_tuned_model
    assert name in [model.id for model in client.models.list()]
    assert client.models.delete(name).deleted
    assert name not in [model.id for model in client.models.list()]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=name, messages=ASKED)
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete(sandbox.provider.name)


def test_a_job_outlives_kills_of_its_worker_and_of_its_server(tmp_path: Path) -> None:
    words = ("model=tiny", "tuning.checkpoint_seconds=0")
    with command(tmp_path, *words) as (url, server):
        client = OpenAI(api_key="sk-first", base_url=url, max_retries=0)
        base = client.models.list().data[0].id
        made = client.fine_tuning.jobs.create(model=base, training_file=upload(client), seed=1, method=method(n_epochs=40, batch_size=1))
        until(lambda: steps(client, made.id) >= 10)
        [worker] = psutil.Process(server.pid).children()
        os.kill(worker.pid, signal.SIGKILL)
        seen = steps(client, made.id)
        until(lambda: steps(client, made.id) > seen)
        os.kill(server.pid, signal.SIGKILL)
    with command(tmp_path, *words) as (url, _):
        client = OpenAI(api_key="sk-first", base_url=url, max_retries=0)
        done = finished(client, made.id)
        events = list(client.fine_tuning.jobs.list_events(made.id, limit=100))
    assert done.status == "succeeded"
    assert [event.data["step"] for event in reversed(events) if event.type == "metrics"] == list(range(1, 401))  # type: ignore[index]
    assert any("was interrupted" in event.message for event in events)
    with serving(tmp_path, *words) as running:
        [part] = layers(running, done.fine_tuned_model)
        assert part == undisturbed(running.provider, tmp_path, jsonl(rows()), 1, epochs=40, batch_size=1)


def steps(client: OpenAI, job: str) -> int:
    """The last step that a job's events tell of."""
    events = client.fine_tuning.jobs.list_events(job, limit=5).data
    return max((event.data["step"] for event in events if event.type == "metrics"), default=0)  # type: ignore[index]
