"""Requests drawn from the server's own OpenAPI document: whatever comes in, what goes out is an answer of the API and no fault of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies

from tests.provider.sandbox import Running, serving, upload

EXAMPLES = 30
"""So many requests of each address: enough to find a fault of every parser, few enough for a minute."""
HEAD = {"Authorization": "Bearer sk-first"}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    limits = ("limits.completion_tokens=2", "limits.jobs=1000", "limits.files=1000")
    with serving(tmp_path_factory.mktemp("fuzz"), "model=refuse_all", *limits) as running:
        upload(running.client())
        yield running


def ask(operation: Any, known: dict[str, str]) -> None:
    """Draw requests of one method of one address, every other one with names that are known there, and look at what comes back."""

    @given(case=operation.as_strategy(), knowing=strategies.booleans())
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def each(case: schemathesis.Case, knowing: bool) -> None:
        if knowing and isinstance(case.body, dict):
            case.body = {**case.body, **{key: name for key, name in known.items() if key in case.body}}
        answer = case.call(headers=HEAD)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"} and "Traceback" not in answer.text

    each()


def test_no_request_breaks_the_server(sandbox: Running) -> None:
    document = schemathesis.openapi.from_url(f"{sandbox.url.removesuffix('/v1')}/openapi.json")
    operations = {operation.label: operation for operation in (found.ok() for found in document.get_all_operations())}
    assert {"POST /v1/files", "POST /v1/fine_tuning/jobs", "POST /v1/chat/completions"} <= set(operations)
    client = sandbox.client()
    known = {"model": sandbox.provider.name, "training_file": client.files.list().data[0].id}
    for operation in operations.values():
        ask(operation, known)
