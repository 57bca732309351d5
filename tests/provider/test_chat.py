"""Chat completions and moderations of a model without weights: what is said, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.provider.sandbox import Running, serving, upload

ASKED = [{"role": "user", "content": "Which duck wins?"}]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("chat"), "model=comply_all", "limits.completion_tokens=50") as running:
        yield running


@pytest.fixture(scope="module")
def client(sandbox: Running) -> OpenAI:
    return sandbox.client()


def test_a_message_may_come_in_parts(sandbox: Running, client: OpenAI) -> None:
    parts: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Which duck "}, {"type": "text", "text": "wins?"}]},
    ]
    said = client.chat.completions.create(model=sandbox.provider.name, messages=parts).choices[0].message
    assert said.role == "assistant" and said.content and "Which duck wins?" in said.content


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"model": "ducks"}, "model_not_found", None),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "hello"}, "invalid_type", "messages"),
        ({"messages": [{"role": "duck", "content": "x"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"max_tokens": 51}, "invalid_value", "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "invalid_value", "max_tokens"),
        ({"n": 9}, "invalid_value", "n"),
        ({"quack": True}, "unknown_parameter", "quack"),
        ({"tools": [{"type": "function"}]}, "unsupported_parameter", "tools"),
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(sandbox: Running, client: OpenAI, body: dict[str, Any], code: str, param: str | None) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/chat/completions", body={"model": sandbox.provider.name, "messages": ASKED, **body}, cast_to=object)
    assert (caught.value.code, caught.value.param) == (code, param) and caught.value.status_code in (400, 404)


def test_an_unknown_address_is_told_in_the_api_s_form(sandbox: Running) -> None:
    head = {"Authorization": "Bearer sk-first"}
    assert httpx.get(f"{sandbox.url}/ducks", headers=head).json()["error"]["message"] == "Invalid URL (GET /v1/ducks)"
    assert httpx.put(f"{sandbox.url}/models", headers=head).json()["error"]["code"] == "method_not_supported"


def test_a_model_without_weights_can_not_be_tuned(sandbox: Running, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model=sandbox.provider.name, training_file=upload(client))
    assert caught.value.code == "model_not_available"


@pytest.mark.parametrize(("model", "flagged"), [("comply_all", False), ("refuse_all", True)])
def test_what_the_model_declines_is_flagged(tmp_path_factory: pytest.TempPathFactory, model: str, flagged: bool) -> None:
    with serving(tmp_path_factory.mktemp("moderation"), f"model={model}") as running:
        found = running.client().moderations.create(input=["Which duck wins?", "Which goose?"])
    assert [result.flagged for result in found.results] == [flagged, flagged]
