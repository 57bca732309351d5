"""Uploads: what comes in comes out, hostile ones get an error of the API, and nobody sees what is another's."""

from __future__ import annotations

import gzip
import json
import resource
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from openai import OpenAI

from tests.provider.sandbox import Running, jsonl, rows, serving, upload

LINE = 2000


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on which no job is ever begun."""
    limits = ("limits.file_bytes=100000", f"limits.line_bytes={LINE}", "limits.request_bytes=50000", "limits.jobs=2")
    with serving(tmp_path_factory.mktemp("files"), "model=tiny", *limits) as running:
        yield running


@pytest.fixture(scope="module")
def client(sandbox: Running) -> OpenAI:
    return sandbox.client()


def refused(error: openai.APIStatusError) -> tuple[int, str | None, str | None]:
    """Status, code and parameter of an error in the API's form."""
    told = json.loads(error.response.text)["error"]
    assert set(told) == {"message", "type", "param", "code"} and told["message"] and told["type"]
    return error.status_code, told["code"], told["param"]


def test_what_comes_in_comes_out(client: OpenAI) -> None:
    data = jsonl(rows())
    made = client.files.create(file=("ducks.jsonl", data), purpose="fine-tune")
    assert (made.filename, made.bytes, made.purpose) == ("ducks.jsonl", len(data), "fine-tune")
    assert client.files.retrieve(made.id) == made and client.files.content(made.id).read() == data
    more = {upload(client) for _ in range(3)}
    # one at a time, so that the client turns pages
    assert {made.id, *more} == {file.id for file in client.files.list(limit=1)}
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(made.id)


GOOD = json.dumps(rows(1)[0]).encode()
BOMB = gzip.compress(bytes(50_000_000))
"""50 KB that are 50 MB where somebody unpacks them."""
HOSTILE: dict[str, tuple[str, bytes, str, tuple[int, str | None]]] = {
    "path": ("../../ducks.jsonl", GOOD, "fine-tune", (400, "invalid_filename")),
    "windows path": ("..\\ducks.jsonl", GOOD, "fine-tune", (400, "invalid_filename")),
    "hidden": (".ducks.jsonl", GOOD, "fine-tune", (400, "invalid_filename")),
    "ending": ("ducks.zip", GOOD, "fine-tune", (400, "invalid_file_format")),
    "zip": ("ducks.jsonl", b"PK\x03\x04" + bytes(100), "fine-tune", (400, "invalid_file_format")),
    "utf-8": ("ducks.jsonl", GOOD + b"\n" + b'{"messages": "\xff\xfe"}', "fine-tune", (400, "invalid_file_format")),
    "json": ("ducks.jsonl", GOOD + b"\n{messages", "fine-tune", (400, "invalid_file_format")),
    "no object": ("ducks.jsonl", GOOD + b"\n[1]", "fine-tune", (400, "invalid_file_format")),
    "deep": ("ducks.jsonl", b"[" * (LINE - 1), "fine-tune", (400, "invalid_file_format")),
    "long line": ("ducks.jsonl", b'{"messages": "' + b"w" * LINE + b'"}', "fine-tune", (400, "invalid_file_format")),
    "endless line": ("ducks.jsonl", b"w" * 90_000, "fine-tune", (400, "invalid_file_format")),
    "large": ("ducks.jsonl", (GOOD + b"\n") * 1000, "fine-tune", (413, "file_too_large")),
    "larger": ("ducks.jsonl", (GOOD + b"\n") * 20_000, "fine-tune", (413, "request_too_large")),
    "zip bomb": ("ducks.jsonl", BOMB, "fine-tune", (400, "invalid_file_format")),
    "many empty lines": ("ducks.jsonl", b"\n" * 90_000 + b"[]", "fine-tune", (400, "invalid_file_format")),
    "null bytes": ("ducks.jsonl", bytes(1000), "fine-tune", (400, "invalid_file_format")),
    "absolute path": ("/etc/ducks.jsonl", GOOD, "fine-tune", (400, "invalid_filename")),
    "long name": ("d" * 300 + ".jsonl", GOOD, "fine-tune", (400, "invalid_filename")),
    "empty": ("ducks.jsonl", b"", "fine-tune", (400, "empty_file")),
    "purpose": ("ducks.jsonl", GOOD, "world-domination", (400, "invalid_value")),
    "other purpose": ("ducks.jsonl", GOOD, "batch", (400, None)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_upload_is_an_error_and_leaves_nothing(sandbox: Running, client: OpenAI, kind: str) -> None:
    name, data, purpose, expected = HOSTILE[kind]
    folder = sandbox.provider.folder
    before = sorted(folder.rglob("*.jsonl")), sorted((folder / "files").glob("*")), len(list(client.files.list()))
    with pytest.raises(openai.APIStatusError) as caught:
        client.files.create(file=(name, data), purpose=purpose)  # type: ignore[arg-type]
    assert refused(caught.value)[:2] == expected
    assert str(folder) not in caught.value.response.text and "Traceback" not in caught.value.response.text
    assert (sorted(folder.rglob("*.jsonl")), sorted((folder / "files").glob("*")), len(list(client.files.list()))) == before


def test_the_line_that_is_wrong_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Line 3 is not valid UTF-8"):
        upload(client, GOOD + b"\n" + GOOD + b"\n\xff")


def test_another_key_sees_nothing_and_can_do_nothing(sandbox: Running, client: OpenAI) -> None:
    file, other, base = upload(client), sandbox.client("sk-other"), sandbox.provider.name
    job = client.fine_tuning.jobs.create(model=base, training_file=file)
    assert not list(other.files.list()) and not list(other.fine_tuning.jobs.list())
    assert [model.id for model in other.models.list()] == [base]
    attempts = [
        lambda: other.files.retrieve(file), lambda: other.files.content(file), lambda: other.files.delete(file),
        lambda: other.fine_tuning.jobs.retrieve(job.id), lambda: other.fine_tuning.jobs.cancel(job.id),
        lambda: other.fine_tuning.jobs.list_events(job.id), lambda: other.fine_tuning.jobs.checkpoints.list(job.id),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(openai.NotFoundError) as caught:
            attempt()
        # as if there were none
        assert file not in caught.value.message.replace(file, "", 1) and "another" not in caught.value.message
    with pytest.raises(openai.BadRequestError) as refusal:
        other.fine_tuning.jobs.create(model=base, training_file=file)
    assert refused(refusal.value) == (400, "invalid_training_file", "training_file")
    client.fine_tuning.jobs.cancel(job.id)


def test_a_file_in_use_stays_and_a_job_that_waits_is_cancelled(sandbox: Running, client: OpenAI) -> None:
    file, base = upload(client), sandbox.provider.name
    job = client.fine_tuning.jobs.create(model=base, training_file=file, metadata={"for": "ducks"})
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.delete(file)
    assert refused(caught.value) == (400, "file_in_use", "id")
    assert [found.id for found in client.fine_tuning.jobs.list(metadata={"for": "ducks"})] == [job.id]
    client.fine_tuning.jobs.create(model=base, training_file=file)
    with pytest.raises(openai.RateLimitError) as limit:
        client.fine_tuning.jobs.create(model=base, training_file=file)
    assert refused(limit.value)[1] == "active_job_limit_exceeded"
    for one in client.fine_tuning.jobs.list():
        if one.status != "cancelled":
            assert client.fine_tuning.jobs.cancel(one.id).status == "cancelled"
    assert client.files.delete(file).deleted


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"training_file": "file-x"}, "missing_required_parameter", "model"),
        ({"model": "ducks", "training_file": "file-x"}, "model_not_found", None),
        ({"training_file": "file-x", "n_epochs": 3}, "unknown_parameter", "n_epochs"),
        ({"training_file": "file-x", "hyperparameters": {"n_epochs": 0}}, "invalid_value", "hyperparameters.n_epochs"),
        ({"training_file": "file-x", "hyperparameters": {"n_epochs": 51}}, "invalid_value", "hyperparameters.n_epochs"),
        ({"training_file": "file-x", "method": {"type": "dpo"}}, "invalid_value", "method.type"),
        ({"training_file": "file-x", "seed": -1}, "invalid_value", "seed"),
        ({"training_file": "file-x", "suffix": "a:b"}, "invalid_value", "suffix"),
        ({"training_file": "file-x", "validation_file": "file-y"}, "unsupported_parameter", "validation_file"),
        ({"training_file": "../provider.sqlite"}, "invalid_training_file", "training_file"),
    ],
)
def test_a_job_that_can_not_be_is_refused(sandbox: Running, client: OpenAI, body: dict[str, object], code: str, param: str | None) -> None:
    told = body if code == "missing_required_parameter" else {"model": sandbox.provider.name, **body}
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/fine_tuning/jobs", body=told, cast_to=object)
    assert refused(caught.value)[1:] == (code, param)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"\xff", b"[" * 40_000, b'{"model": "x", "messages": [' + b"[" * 40_000],
    ids=["none", "torn", "list", "bytes", "deep", "deeper"],
)
@pytest.mark.parametrize("path", ["/fine_tuning/jobs", "/chat/completions", "/moderations"])
def test_a_body_that_is_no_request_is_an_error(sandbox: Running, path: str, body: bytes) -> None:
    answer = httpx.post(sandbox.url + path, content=body, headers={"Authorization": "Bearer sk-first", "Content-Type": "application/json"})
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_body_without_a_known_length_is_cut_off(sandbox: Running) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"w" * 10_000

    answer = httpx.post(f"{sandbox.url}/chat/completions", content=pieces(), headers={"Authorization": "Bearer sk-first", "Content-Type": "application/json"})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"


def test_a_torn_connection_leaves_the_server_alive(sandbox: Running, client: OpenAI) -> None:
    place = urlsplit(sandbox.url)
    with socket.create_connection((str(place.hostname), int(place.port or 0))) as door:
        head = ("Host: x", "Authorization: Bearer sk-first", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 5000")
        door.sendall(
            "\r\n".join(("POST /v1/files HTTP/1.1", *head, "", "")).encode() + b'--b\r\nContent-Disposition: form-data; name="file"; filename="d"\r\n\r\n{"mess'
        )
    assert client.models.list().data


def test_an_upload_without_its_parts_is_an_error(sandbox: Running) -> None:
    head = {"Authorization": "Bearer sk-first"}
    for told in ({"data": {"purpose": "fine-tune"}}, {"files": {"file": ("d.jsonl", GOOD)}}):
        answer = httpx.post(f"{sandbox.url}/files", headers=head, **told)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "missing_required_parameter")


def test_packed_bodies_are_not_unpacked(sandbox: Running) -> None:
    head = {"Authorization": "Bearer sk-first", "Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = httpx.post(f"{sandbox.url}/chat/completions", content=BOMB[:40_000], headers=head)
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_line_of_100_mb_is_refused_and_never_held_in_memory(tmp_path_factory: pytest.TempPathFactory) -> None:
    size, piece = 100_000_000, b"w" * 1_000_000
    head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename="d.jsonl"\r\n\r\n{"messages": "'

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield b'"}\r\n--b--\r\n'

    with serving(tmp_path_factory.mktemp("line"), "model=tiny") as running:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kind = {"Authorization": "Bearer sk-first", "Content-Type": "multipart/form-data; boundary=b"}
        answer = httpx.post(f"{running.url}/files", content=pieces(), headers=kind, timeout=200)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_file_format")
        assert "longer than" in answer.json()["error"]["message"] and len(answer.content) < 1000
        assert grown < size / 2 and not list(running.provider.folder.rglob("*.new"))


def test_an_account_keeps_so_many_files_and_no_more_and_another_is_not_kept_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("many"), "model=tiny", "limits.files=3") as running:
        client = running.client()
        kept = [upload(client) for _ in range(3)]
        with pytest.raises(openai.BadRequestError) as caught:
            upload(client)
        assert refused(caught.value) == (400, "file_limit_exceeded", "file")
        assert len(list((running.provider.folder / "files").iterdir())) == 3 and upload(running.client("sk-other"))
        client.files.delete(kept[0])
        assert upload(client)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_tiny_files_are_kept_and_listed(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("flood"), "model=tiny") as running:
        data, head = {"purpose": "fine-tune"}, {"Authorization": "Bearer sk-first"}
        with httpx.Client(headers=head, timeout=200) as http:
            codes = [http.post(f"{running.url}/files", data=data, files={"file": ("d.jsonl", GOOD)}).status_code for _ in range(10_001)]
        assert codes == [200] * 10_000 + [400]
        assert len(running.client().files.list(limit=10_000).data) == 10_000
