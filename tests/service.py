"""A double of a service with OpenAI's API, on this machine: what it answers is a function of the request, and it remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RETRY_MS = 2
"""How long the double asks to wait before a retry."""


@dataclass(frozen=True)
class Answered:
    """An HTTP response; ``cut`` closes the connection before the body is whole."""

    body: Any
    status: int = 200
    cut: bool = False

    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def chat(text: str | None, finish: str = "stop", usage: tuple[int, int] | None = (100, 10), model: str | None = None, **message: Any) -> Answered:
    """A chat completion."""
    counted = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)} if usage else None
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    return Answered({"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": counted})


def error(status: int, code: str | None = None, param: str | None = None, message: str = "no") -> Answered:
    """An error in the service's own form."""
    return Answered({"error": {"message": message, "type": "double_error", "code": code, "param": param}}, status)


Behaviour = Callable[[dict[str, Any]], Answered]


@dataclass
class Double:
    """A running double: its address, every request in order, how many were answered with 200, and the most at one time."""

    behave: Behaviour
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    served: int = 0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, key: str | None, body: dict[str, Any]) -> Answered:
        with self.lock:
            self.asked.append({"path": path, **body})
            self.keys.append(key)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            found = self.behave({"path": path, **body})
        finally:
            with self.lock:
                self.at_once -= 1
        with self.lock:
            self.served += found.status == 200 and not found.cut
        return found


@contextmanager
def serving(behave: Behaviour) -> Iterator[Double]:
    """A double for the time of the body; ``model`` is filled in where ``behave`` leaves it out."""
    double = Double(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = double.answer(self.path, self.headers["Authorization"], body)
            if isinstance(found.body, dict) and found.body.get("model", "") is None:
                found = Answered({**found.body, "model": body["model"]}, found.status, found.cut)
            data = found.data()
            self.send_response(found.status)
            self.send_header("Content-Type", "text/html" if isinstance(found.body, bytes) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            if found.status != 200:
                self.send_header("retry-after-ms", str(RETRY_MS))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if found.cut else data)
            self.close_connection = found.cut

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing: the double remembers by itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
