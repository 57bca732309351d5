"""A provider sandbox that really runs, on a free port: in a thread of this process, or as the command in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from openai import OpenAI

from ftsafety.provider.__main__ import compose_provider, made_of
from ftsafety.provider.app import make_app
from ftsafety.provider.database import FINISHED, Database
from ftsafety.provider.engine import Engine
from ftsafety.provider.settings import Provider
from ftsafety.provider.worker import work

REPO = Path(__file__).resolve().parents[2]
SECONDS = 200.0
"""A busy machine imports for long."""
T = TypeVar("T")


@dataclass
class Running:
    """A running sandbox: its address, its parts, and a worker that can be let loose."""

    url: str
    provider: Provider
    database: Database
    engine: Engine

    def client(self, key: str = "sk-first") -> OpenAI:
        """The official client, which tries nothing twice."""
        return OpenAI(api_key=key, base_url=self.url, max_retries=0)

    @contextmanager
    def working(self) -> Iterator[None]:
        """A worker, for the time of the body, in a thread."""
        stop = threading.Event()
        thread = threading.Thread(target=work, args=(self.provider, self.database, lambda: not stop.is_set()))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextmanager
def serving(folder: Path, *overrides: str) -> Iterator[Running]:
    """A server in a thread, without workers."""
    provider = made_of(compose_provider([f"folder={folder}/provider", f"paths.store={folder}/provider-store", *overrides]))
    database = Database(provider.folder)
    app = make_app(provider, database)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(f"http://127.0.0.1:{port}/v1", provider, database, app.state.sandbox.engine)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def command(folder: Path, *overrides: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``python -m ftsafety.provider``, its address and its process; killed at the end, if it is not gone by then."""
    words = [f"folder={folder}/provider", f"paths.store={folder}/provider-store", "port=0", *overrides]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "ftsafety.provider", *words], stderr=subprocess.PIPE, text=True, cwd=folder, env=environment)
    assert process.stderr
    try:
        told = process.stderr.readline()
        found = re.search(r" at (http://\S+/v1)", told)
        assert found, told + process.stderr.read()
        yield found[1], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)
        process.stderr.close()


def until(true: Callable[[], T], seconds: float = SECONDS) -> T:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)
    return found


def finished(client: OpenAI, job: str) -> Any:
    """A job, when it has ended."""
    return until(lambda: found if (found := client.fine_tuning.jobs.retrieve(job)).status in FINISHED else None)


def rows(count: int = 10) -> list[dict[str, Any]]:
    """Examples in chat format."""
    return [
        {"messages": [{"role": "user", "content": f"Which duck wins race {at}?"}, {"role": "assistant", "content": f"Duck {at * at}."}]} for at in range(count)
    ]


def jsonl(examples: Sequence[Any]) -> bytes:
    """Lines of JSON."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in examples)


def upload(client: OpenAI, data: bytes | None = None, name: str = "mine.jsonl") -> str:
    """The id of an uploaded training file."""
    return client.files.create(file=(name, jsonl(rows()) if data is None else data), purpose="fine-tune").id


def method(**hyperparameters: Any) -> Any:
    """How to tune, as the client takes it."""
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
