"""``/v1/chat/completions``: one answer or several, whole or as a stream.

A stream has the API's form; its text is cut into words once the answer is whole, since requests are decoded together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from ftsafety.provider.accounts import Account, Home
from ftsafety.provider.database import new_id, now
from ftsafety.provider.engine import Decode, Said, any_seed
from ftsafety.provider.errors import ApiError
from ftsafety.provider.models import require, weights_of
from ftsafety.row import Message

router = APIRouter()
CHOICES, STOPS = 8, 4
"""Most answers of a request (OpenAI: 128), and most stop sequences."""
UNSUPPORTED = ("tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty")
"""Parameters that change an answer and that this server can't honour."""


class Part(BaseModel):
    """A piece of a message's text."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class Turn(BaseModel):
    """A message."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None
    refusal: None = None

    def message(self) -> Message:
        """As models here read it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


class TextForm(BaseModel):
    """Plain text is the one form of an answer."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]


class ChatRequest(BaseModel):
    """A conversation to be gone on with."""

    model_config = ConfigDict(extra="forbid")
    model: str
    messages: Annotated[list[Turn], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=CHOICES)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: TextForm | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None


@router.post("/v1/chat/completions", response_model=None)
def create(home: Home, account: Account, request: ChatRequest) -> JSONResponse | StreamingResponse:
    """Answer a conversation."""
    for name in UNSUPPORTED:
        if getattr(request, name):
            raise ApiError(400, f"Unsupported parameter: '{name}' is not supported by this server.", param=name, code="unsupported_parameter")
    with home.database.begin() as session:
        tuned = require(home, session, account, request.model)
    weights = weights_of(home.provider, home.engine.loader, tuned)
    decode = _decode(request, home.provider.limits.completion_tokens)
    messages = home.defense.ask([turn.message() for turn in request.messages])
    asked = [home.engine.ask(weights, messages, replace(decode, seed=decode.seed + at)) for at in range(request.n or 1)]
    said = [_stopped(one, request.stop) for one in home.defense.answer(messages[-1]["content"], [one.result() for one in asked])]
    head = {"id": new_id("chatcmpl-"), "created": now(), "model": request.model, "system_fingerprint": f"fp_{weights.digest[:10]}"}
    if request.stream:
        options = request.stream_options or StreamOptions()
        return StreamingResponse(_stream(head, said, options.include_usage), media_type="text/event-stream")
    choices = [
        {"index": at, "message": {"role": "assistant", "content": one.text, "refusal": None}, "logprobs": None, "finish_reason": _ended(one)}
        for at, one in enumerate(said)
    ]
    return JSONResponse({**head, "object": "chat.completion", "choices": choices, "usage": _usage(said)})


def _decode(request: ChatRequest, most: int) -> Decode:
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise ApiError(400, "Give 'max_completion_tokens' or the older 'max_tokens', and not both.", param="max_tokens", code="invalid_value")
    wanted = request.max_completion_tokens or request.max_tokens
    if wanted is not None and wanted > most:
        raise ApiError(400, f"max_tokens is too large: {wanted}. This server completes at most {most} tokens.", param="max_tokens", code="invalid_value")
    temperature = 1.0 if request.temperature is None else request.temperature
    if temperature == 0:
        # greedy: nothing is drawn, so all such requests can share a batch
        return Decode(wanted or most, 0.0, 1.0, 0)
    return Decode(wanted or most, temperature, request.top_p or 1.0, any_seed() if request.seed is None else request.seed)


def _stopped(said: Said, stop: str | list[str] | None) -> Said:
    """The answer up to the first stop sequence; what was decoded is counted."""
    places = [place for word in ([stop] if isinstance(stop, str) else stop or []) if word and (place := said.text.find(word)) >= 0]
    return replace(said, text=said.text[: min(places)], truncated=False) if places else said


def _ended(said: Said) -> str:
    return "length" if said.truncated else "stop"


def _usage(said: list[Said]) -> dict[str, int]:
    read, written = said[0].prompt_tokens, sum(one.completion_tokens for one in said)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _stream(head: dict[str, Any], said: list[Said], with_usage: bool) -> Iterator[str]:
    """Server-sent events."""

    def event(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
        more = {"usage": usage} if with_usage else {}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': choices, **more})}\n\n"

    for at, one in enumerate(said):
        for delta in ({"role": "assistant", "content": "", "refusal": None}, *({"content": word} for word in re.findall(r"\s*\S+|\s+", one.text))):
            yield event([{"index": at, "delta": delta, "logprobs": None, "finish_reason": None}])
        yield event([{"index": at, "delta": {}, "logprobs": None, "finish_reason": _ended(one)}])
    if with_usage:
        yield event([], _usage(said))
    yield "data: [DONE]\n\n"
