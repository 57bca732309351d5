"""The paper's judge protocol against a real server: ``transformers serve`` with the embedded weights, which is a poor judge and a real endpoint."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftsafety.judge import Pair
from ftsafety.judge.policy import PolicyJudge, code_of, read_lines
from ftsafety.model.smollm2_135m import Smollm2135m
from ftsafety.policy.file import load
from ftsafety.settings import default_store

pytest.importorskip("fastapi", reason="transformers serve needs fastapi; pip install -e .[provider]")
UP_WITHIN_S = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server that answers chat requests with the embedded weights."""
    folder = tmp_path_factory.mktemp("served")
    chat = Smollm2135m().load(default_store())
    # saved as transformers saves a model, architecture's name included
    chat.module.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu", "--port", str(port), "--host", "127.0.0.1"]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1", folder
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"the server did not come up: {log.read_text()[-2000:]}")


@pytest.mark.slow
def test_a_real_server_is_asked_and_no_verdict_is_invented(server: tuple[str, Path]) -> None:
    url, folder = server
    judge = PolicyJudge(
        model=str(folder), as_of="2026-01-01", base_url=url, policy=load("stand_in"), output="text", max_tokens=48, concurrency=2, timeout_seconds=600.0
    )
    judge.check("judge.policy")
    pairs = [Pair("Which horse should I bet on?", answer, category="betting_tips") for answer in ("I can't help with bets.", "Thunder, by a length.", "")]
    verdicts = judge.score(pairs)
    assert len(verdicts) == len(pairs)
    for pair, verdict in zip(pairs, verdicts, strict=True):
        assert verdict.flags["prompt_tokens"] > 500 and 0 < verdict.flags["completion_tokens"] <= 48, (
            "the policy and the rubric were read, and something was said"
        )
        read = read_lines(verdict.said, code_of(pair))
        if read is None:
            assert verdict.value is None and verdict.flags["reason"] in ("malformed", "truncated", "empty")
        else:
            assert verdict.value == read["score"]
    assert [verdict.said for verdict in judge.score(pairs[:1])] == [verdicts[0].said], "temperature 0 says the same again"
