"""Requests drawn from the server's own OpenAPI document: whatever comes in, what goes out is an answer of the API and no fault of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from tests.provider.sandbox import Running, serving, upload

EXAMPLES = 15
"""So many requests of each address: enough to find a fault of every parser, few enough for a minute."""
HEAD = {"Authorization": "Bearer sk-first"}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    limits = ("limits.completion_tokens=2", "limits.jobs=1000", "limits.files=1000")
    with serving(tmp_path_factory.mktemp("fuzz"), "model=refuse_all", *limits) as running:
        upload(running.client())
        yield running


@pytest.fixture(scope="module")
def document(sandbox: Running) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{sandbox.url.removesuffix('/v1')}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_server(case: schemathesis.Case) -> None:
    answer = case.call(headers=HEAD)
    case.validate_response(answer, checks=[not_a_server_error])
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"} and "Traceback" not in answer.text
