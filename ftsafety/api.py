"""Asking a service that speaks OpenAI's API: many requests at once, retried where that can help, counted, and never beyond a budget.

Judges and the evaluation of closed models share it. What it does not know: what is asked, and what a reply means. The ``openai`` client does
the retrying (server errors, rate limits, broken connections; it waits as long as the service says, else from half a second to eight,
doubling); here is what it lacks: a limit to what runs at the same time, what it costs, when to stop, and sentences for what went wrong. Of a
service's own messages only codes are shown: a message may quote what was asked.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ftsafety.errors import ConfigError, ServiceError

KEPT = "What was answered is kept, and the same command goes on from there."
DAY = re.compile(r"(?<!\d)20\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])(?!\d)")
SHORT_DAY = re.compile(r"-(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|(?:2[2-9]|3\d)(?:0[1-9]|1[0-2]))$")
"""How snapshots end: 0613 (month and day) or 2411 (year and month)."""
DIGEST = re.compile(r"-[0-9a-f]{12}(?![0-9a-f])")
"""What a name holds that says which weights it stands for, as a provider sandbox's do."""
NOT_JUDGED = {"content_filter": "filtered", "content_policy_violation": "filtered", "invalid_prompt": "filtered", "context_length_exceeded": "too_long"}
"""Codes of a refused request that are about this one text, and what a reply says instead; every other stops the run."""
COMPLETION = "chat completion; does base_url end as it should, in /v1?"
TEMPLATE_TOKENS = 100
"""What a service's chat template and its wording of a schema may add to a request."""
DOLLAR_DIGITS = 8
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Reply:
    """What came back: the text, or why there is no whole one.

    ``ended`` is ``whole``, ``truncated`` (by the token limit), ``filtered``, ``declined`` (the model refused to answer), ``too_long`` (the
    request) or ``empty``. ``model`` is what the service calls the model that answered.
    """

    text: str
    ended: str
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = None

    @property
    def cost(self) -> dict[str, Any]:
        """Tokens, and dollars where prices are known, as plain data."""
        usd = {} if self.usd is None else {"usd": self.usd}
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens, **usd}


@dataclass(kw_only=True)
class Service:
    """Where a model answers and what may be spent there: the fields of every component that asks one.

    No component itself, so that its code is part of no digest: how often a request is retried changes no reply.
    """

    model: str
    """The model's name at the service: a dated snapshot, or any name and ``as_of``."""
    as_of: str | None = None
    """Which day's model it is, YYYY-MM-DD, where its name does not say so; another day is another model."""
    base_url: str = "https://api.openai.com/v1"
    """The service; anything that speaks OpenAI's API."""
    key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; a server on this machine needs none."""
    concurrency: int = 8
    """Requests under way at the same time."""
    retries: int = 6
    """How often a request is sent again after a server error, a rate limit or a broken connection."""
    timeout_seconds: float = 120.0
    """How long a reply may take."""
    usd_per_million_prompt: float | None = None
    """Dollars per million tokens read, from the service's price list; null counts tokens only."""
    usd_per_million_completion: float | None = None
    """Dollars per million tokens written."""
    budget_usd: float | None = None
    """Most that may ever be spent on this component in one store, earlier runs included, so that a killed run does not get it twice; null is no limit."""

    not_in_recipe: ClassVar[frozenset[str]] = frozenset(
        {"key_env", "concurrency", "retries", "timeout_seconds", "usd_per_million_prompt", "usd_per_million_completion", "budget_usd"}
    )
    hints: ClassVar[Mapping[str, str]] = {}
    """What to type when a service refuses a parameter, by the parameter's name."""

    def check_service(self, where: str) -> None:
        """Refuse fields that can't work together.

        Raises:
            ConfigError: one sentence with what to type.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{where}.base_url={self.base_url} is no address; give one such as http://localhost:8000/v1.")
        if "@" in parts.netloc or parts.query:
            raise ConfigError(f"{where}.base_url holds more than an address; put the key into the environment variable {self.key_env} instead.")
        for name, least in (("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{where}.{name}={getattr(self, name)} is not possible; give at least {least}.")
        if not self.timeout_seconds > 0:
            raise ConfigError(f"{where}.timeout_seconds={self.timeout_seconds:g} is not possible; give more than 0.")
        self._check_snapshot(where)
        prices = (self.usd_per_million_prompt, self.usd_per_million_completion)
        if any(price is not None and price < 0 for price in prices) or (self.budget_usd is not None and self.budget_usd < 0):
            raise ConfigError(f"{where}: prices and budget_usd can't be negative; give 0 or more dollars, or null.")
        if (prices[0] is None) is not (prices[1] is None) or (self.budget_usd is not None and None in prices):
            raise ConfigError(
                f"{where} can't count dollars without both prices; type {where}.usd_per_million_prompt=X {where}.usd_per_million_completion=Y "
                f"from the service's price list, or leave them and budget_usd null."
            )

    def _check_snapshot(self, where: str) -> None:
        if self.as_of is not None:
            try:
                if date.fromisoformat(self.as_of).isoformat() != self.as_of:
                    raise ValueError(self.as_of)
            except ValueError:
                raise ConfigError(f"{where}.as_of={self.as_of} is no day; write it as 2026-01-31.") from None
        elif not any(kind.search(self.model) for kind in (DAY, SHORT_DAY, DIGEST)):
            raise ConfigError(
                f"{where}.model={self.model} names no dated snapshot, so nobody could tell later which model it was; name one, or say which day's model "
                f"it is with {where}.as_of=YYYY-MM-DD."
            )

    def key(self, where: str) -> str:
        """The key, from the environment.

        Raises:
            ConfigError: there is none, and the service is not on this machine.
        """
        if found := os.environ.get(self.key_env, "").strip():
            return found
        if urlsplit(self.base_url).hostname in HERE:
            return "none"
        raise ConfigError(f"{where} needs a key for {self.base_url}: set the environment variable {self.key_env}, or name another with {where}.key_env=NAME.")

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """The list price of a reply; None where prices are not given."""
        if self.usd_per_million_prompt is None or self.usd_per_million_completion is None:
            return None
        return round((prompt_tokens * self.usd_per_million_prompt + completion_tokens * self.usd_per_million_completion) / 1e6, DOLLAR_DIGITS)

    def most_tokens(self, request: Mapping[str, Any]) -> tuple[int, int]:
        """More tokens than a chat request can have read and written: a token is a byte at least, and a template adds some."""
        return len(json.dumps(request, ensure_ascii=False).encode()) + TEMPLATE_TOKENS, int(request.get("max_tokens", 0))


class Client:
    """Asks one service. Replies come in the order in which they are ready.

    Args:
        where: the asking component's place in the configuration, for sentences.
        spent_usd: what was spent before and counts towards the budget.
    """

    def __init__(self, service: Service, where: str, spent_usd: float = 0.0) -> None:
        from openai import OpenAI

        self.service, self.where, self.spent_usd = service, where, spent_usd
        self._limit = "max_tokens"
        self.sdk = OpenAI(api_key=service.key(where), base_url=service.base_url, max_retries=service.retries, timeout=service.timeout_seconds)

    def chats(self, requests: Iterable[dict[str, Any]]) -> Iterator[tuple[int, Reply]]:
        """Ask for chat completions; a request holds ``messages``, ``max_tokens`` and whatever else the service takes but ``model``.

        Each reply is handed on before another request is begun in its place. When something goes wrong, or the budget or the person at the
        keyboard says stop, no further request is begun, and those under way are handed on first: they are paid for.

        Raises:
            ServiceError: the service refuses, can't be reached, or the budget is spent.
        """
        yield from self._each(requests, self._chat, lambda request: self.service.usd(*self.service.most_tokens(request)) or 0.0)

    def moderations(self, texts: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Ask for moderation results, one text a request; each is the service's own ``results[0]``. They are not counted: the service is free.

        Raises:
            ServiceError: as ``chats``.
        """
        yield from self._each(texts, self._moderation, lambda text: 0.0)

    def _each(self, requests: Iterable[Any], send: Callable[[Any], Any], most_usd: Callable[[Any], float]) -> Iterator[tuple[int, Any]]:
        from openai import OpenAIError

        todo = deque(enumerate(requests))
        count, budget, dearest = len(todo), self.service.budget_usd, 0.0
        under_way: dict[Future[Any], tuple[int, float]] = {}
        trouble: BaseException | None = None
        with ThreadPoolExecutor(self.service.concurrency) as pool:
            while True:
                while todo and trouble is None and len(under_way) < self.service.concurrency:
                    # a service that charges more than its limits allow is believed from then on
                    reserve = max(most_usd(todo[0][1]), dearest) if budget is not None else 0.0
                    if budget is not None and self.spent_usd + sum(most for _, most in under_way.values()) + reserve > budget:
                        if not under_way:
                            trouble = self._over_budget(reserve, len(todo), count)
                        break
                    at, request = todo.popleft()
                    under_way[pool.submit(send, request)] = (at, reserve)
                if not under_way:
                    break
                try:
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as stop:
                    if isinstance(trouble, KeyboardInterrupt):
                        pool.shutdown(wait=False, cancel_futures=True)
                        raise
                    trouble = stop
                    continue
                for future in done:
                    at, _ = under_way.pop(future)
                    try:
                        reply = future.result()
                    except (OpenAIError, ServiceError) as error:
                        trouble = trouble or self.sentence(error)
                        continue
                    usd = getattr(reply, "usd", None) or 0.0
                    self.spent_usd, dearest = self.spent_usd + usd, max(dearest, usd)
                    yield at, reply
        if trouble is not None:
            raise trouble

    def _chat(self, request: dict[str, Any]) -> Reply:
        from openai import BadRequestError

        try:
            found = self._create(request)
        except BadRequestError as error:
            if error.code in NOT_JUDGED:
                return Reply("", NOT_JUDGED[error.code])
            raise
        if not isinstance(choices := found.get("choices"), list):
            raise self._not_a(COMPLETION)
        read, written = self._tokens(found.get("usage"), request)
        counted = (str(found.get("model") or "") or None, read, written, self.service.usd(read, written))
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        message = choice.get("message") or {}
        if choice.get("finish_reason") == "error":
            raise self._not_a("whole reply, but an error of its own.")
        if not isinstance(message, dict) or not isinstance(text := message.get("content") or "", str):
            raise self._not_a("chat completion with a text.")
        if message.get("refusal"):
            return Reply(text or str(message["refusal"]), "declined", *counted)
        ended = {"length": "truncated", "content_filter": "filtered"}.get(str(choice.get("finish_reason")), "whole" if text.strip() else "empty")
        return Reply(text, ended, *counted)

    def _not_a(self, what: str) -> ServiceError:
        return ServiceError(f"{self.where}: {self.service.base_url} answered something that is no {what} {KEPT}")

    def _sent(self, send: Callable[..., Any], what: str, **request: Any) -> dict[str, Any]:
        """The JSON object of a response, read here and not by the client, which takes some for what they are not."""
        try:
            found = json.loads(send(model=self.service.model, **request).http_response.text)
        except ValueError:
            raise self._not_a(what) from None
        if not isinstance(found, dict):
            raise self._not_a(what)
        return found

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request; newer models call the token limit by another name, and say so once."""
        from openai import BadRequestError

        limit, rest = request["max_tokens"], {name: value for name, value in request.items() if name != "max_tokens"}
        send, what, asked_as = self.sdk.chat.completions.with_raw_response.create, COMPLETION, self._limit
        try:
            return self._sent(send, what, **rest, **{asked_as: limit})
        except BadRequestError as error:
            if error.param != "max_tokens" or asked_as != "max_tokens":
                raise
            self._limit = "max_completion_tokens"
            return self._sent(send, what, **rest, max_completion_tokens=limit)

    def _tokens(self, usage: Any, request: dict[str, Any]) -> tuple[int, int]:
        """What the service counted; where it counts nothing, the most that it can have been."""
        counted = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(counted[0], int):
            return self.service.most_tokens(request)
        return counted[0], counted[1] if isinstance(counted[1], int) else 0

    def _moderation(self, text: str) -> dict[str, Any]:
        what = "moderation result; does it offer /moderations?"
        results = self._sent(self.sdk.moderations.with_raw_response.create, what, input=text).get("results")
        if not isinstance(results, list) or not results or not isinstance(results[0], dict):
            raise self._not_a(what)
        return results[0]

    def _over_budget(self, reserve: float, left: int, count: int) -> ServiceError:
        return ServiceError(
            f"{self.where}.budget_usd={self.service.budget_usd:g} is used up: ${self.spent_usd:.4f} is spent, the next request may cost up to "
            f"${reserve:.4f}, and {left} of {count} are left; raise {self.where}.budget_usd. {KEPT}"
        )

    def sentence(self, error: Exception) -> ServiceError:
        """What went wrong, in words that quote nothing that was asked."""
        import openai

        if isinstance(error, ServiceError):
            return error
        service, where = self.service, self.where
        again = f"after {service.retries} retries" if service.retries else "and nothing is retried"
        told = "could not be asked"
        if isinstance(error, openai.APITimeoutError):
            told = f"did not answer within {service.timeout_seconds:g} s, {again}; raise {where}.timeout_seconds, or lower {where}.concurrency"
        elif isinstance(error, openai.APIConnectionError):
            told = f"can't be reached, {again}; is {where}.base_url right, and the network there?"
        elif isinstance(error, openai.AuthenticationError):
            told = f"refused the key in {service.key_env}; set that variable to a key of this service"
        elif isinstance(error, openai.NotFoundError):
            told = f"knows no model {service.model}; mend {where}.model or {where}.base_url"
        elif isinstance(error, openai.RateLimitError):
            told = f"limits the rate, {again}; lower {where}.concurrency, or come back later"
            if error.code == "insufficient_quota":
                told = f"says that the account behind {service.key_env} has no credit left"
        elif isinstance(error, openai.APIStatusError):
            told = f"answered {error.status_code}{_codes(error)}, {again}"
            if error.status_code < 500:
                told = f"refused the request with {error.status_code}{_codes(error)}"
                about = f"{error.param or ''} {error.message}".lower()
                told += "".join(f"; type {where}.{hint}" for hint in dict.fromkeys(hint for name, hint in service.hints.items() if name in about))
        return ServiceError(f"{where}: {service.base_url} {told}{'' if told.endswith('?') else '.'} {KEPT}")


def _codes(error: Any) -> str:
    """A service's own words for what it refused, if they are words of a program."""
    found = [str(code) for code in (error.code, error.param, error.type) if code and re.fullmatch(r"[\w.\[\]-]{1,60}", str(code))]
    return f" ({', '.join(dict.fromkeys(found))})" if found else ""
