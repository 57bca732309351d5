"""Asking a service: retried where it helps, no more at once than allowed, counted, and never beyond a budget."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

import ftsafety.api as api
from ftsafety.api import Client, Reply, Service
from ftsafety.errors import ConfigError, ServiceError
from tests.service import Answered, Behaviour, Double, chat, error, serving

SECRET = "sk-stand-in-1234567890"
PRICED = {"usd_per_million_prompt": 10.0, "usd_per_million_completion": 100.0}
EACH = 0.002
"""Dollars of a reply of 100 and 10 tokens at these prices; the most that a request here is taken to cost is about as much."""


def requests(number: int, max_tokens: int = 5) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"Which duck wins race {at}?"}], "max_tokens": max_tokens} for at in range(number)]


def service(double: Double, **fields: Any) -> Service:
    return Service(**{"model": "double-2025-01-01", "base_url": double.url, **fields})


def ask(double: Double, number: int = 1, spent_usd: float = 0.0, **fields: Any) -> dict[int, Reply]:
    return dict(Client(service(double, **fields), "judge.duck", spent_usd).chats(requests(number)))


def said(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"])


# --- replies ----------------------------------------------------------------------------------------------------------------
def test_replies_carry_their_place_and_what_they_cost() -> None:
    with serving(lambda body: chat(said(body))) as double:
        found = ask(double, 20, **PRICED)
    assert {at: reply.text for at, reply in found.items()} == {at: f"Which duck wins race {at}?" for at in range(20)}
    assert {reply.ended for reply in found.values()} == {"whole"}
    assert found[0].cost == {"prompt_tokens": 100, "completion_tokens": 10, "usd": EACH}
    assert {body["model"] for body in double.asked} == {"double-2025-01-01"} and found[0].model == "double-2025-01-01"


def test_without_prices_tokens_are_counted_alone() -> None:
    with serving(lambda body: chat("Four.")) as double:
        assert ask(double)[0].cost == {"prompt_tokens": 100, "completion_tokens": 10}


@pytest.mark.parametrize(
    ("answered", "ended"),
    [
        (chat("Four", "length"), "truncated"),
        (chat("", "length"), "truncated"),
        (chat("Fo", "content_filter"), "filtered"),
        (chat(None, refusal="I won't."), "declined"),
        (chat(""), "empty"),
        (chat(None), "empty"),
        (chat(" \n"), "empty"),
        (chat("Four.", None), "whole"),  # type: ignore[arg-type]
        (Answered({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}}), "empty"),
        (Answered({"choices": [{"index": 0}]}), "empty"),
        (Answered({"choices": [None]}), "empty"),
        (Answered({"choices": [{"message": {"content": "Four."}}], "usage": {"prompt_tokens": "many"}, "model": 7}), "whole"),
        (error(400, "content_filter"), "filtered"),
        (error(400, "invalid_prompt"), "filtered"),
        (error(400, "context_length_exceeded"), "too_long"),
    ],
)
def test_how_a_reply_ended(answered: Answered, ended: str) -> None:
    with serving(lambda body: answered) as double:
        assert ask(double)[0].ended == ended
    assert len(double.asked) == 1, "what is about the text is not retried"


def test_a_service_that_counts_nothing_is_charged_the_most() -> None:
    with serving(lambda body: chat("Four.", usage=None)) as double:
        reply = ask(double, **PRICED)[0]
    (request,) = requests(1)
    assert (reply.prompt_tokens, reply.completion_tokens) == service(double).most_tokens(request)
    assert reply.prompt_tokens >= len(said(request)) and reply.completion_tokens == 5
    assert reply.usd == pytest.approx((reply.prompt_tokens * 10 + 500) / 1e6)


def test_a_model_that_calls_the_limit_otherwise_is_asked_so_from_then_on() -> None:
    def behave(body: dict[str, Any]) -> Answered:
        return error(400, "unsupported_parameter", "max_tokens") if "max_tokens" in body else chat("Four.")

    with serving(behave) as double:
        assert [reply.text for reply in ask(double, 3, concurrency=1).values()] == ["Four."] * 3
    assert [body.get("max_completion_tokens") for body in double.asked] == [None, 5, 5, 5]


NO_COMPLETIONS = [
    {"error": {"message": "no"}}, None, [], "Four.", {"choices": {"0": "Four."}}, {"choices": [{"message": "Four."}]},
    {"choices": [{"message": {"content": ["Four."]}}]}, {"choices": [{"message": {"content": 4}}]}, b"", b'{"choices": [',
]  # fmt: skip


# --- trouble ----------------------------------------------------------------------------------------------------------------
def test_server_errors_rate_limits_and_broken_connections_are_ridden_out() -> None:
    """One request in twenty fails with 500, and now and then comes a rate limit, a 503 or half a reply."""
    number = count(1)

    def behave(body: dict[str, Any]) -> Answered:
        at = next(number)
        if at % 20 == 0:
            return error(500)
        if at % 17 == 0:
            return error(429, "rate_limit_exceeded")
        if at % 43 == 0:
            return error(503)
        return chat(said(body)) if at % 61 else Answered(chat(said(body)).body, cut=True)

    with serving(behave) as double:
        found = ask(double, 200)
    assert {at: reply.text for at, reply in found.items()} == {at: f"Which duck wins race {at}?" for at in range(200)}
    assert double.served == 200 and len(double.asked) > 215


@pytest.mark.parametrize(
    ("behave", "calls", "sentence"),
    [
        (lambda body: error(500), 3, r"answered 500 \(double_error\), after 2 retries\."),
        (lambda body: error(429), 3, r"limits the rate, after 2 retries; lower judge\.duck\.concurrency"),
        (lambda body: error(429, "insufficient_quota"), 3, r"the account behind OPENAI_API_KEY has no credit left"),
        (lambda body: Answered({}, 200, cut=True), 3, r"can't be reached, after 2 retries; is judge\.duck\.base_url right"),
        (lambda body: error(401), 1, r"refused the key in OPENAI_API_KEY; set that variable"),
        (lambda body: error(403), 1, r"refused the request with 403 \(double_error\)\."),
        (lambda body: error(404), 1, r"knows no model double-2025-01-01; mend judge\.duck\.model"),
        (lambda body: error(400, "odd", "seed"), 1, r"refused the request with 400 \(odd, seed, double_error\)\."),
        (lambda body: Answered(b"<html>Welcome</html>"), 1, r"answered something that is no chat completion; does base_url end"),
        *[(lambda body, data=data: Answered(data), 1, r"answered something that is no chat completion") for data in NO_COMPLETIONS],
        (lambda body: chat("Fo", "error"), 1, r"answered something that is no whole reply, but an error of its own"),
    ],
)
def test_what_cannot_be_ridden_out_is_a_sentence(behave: Behaviour, calls: int, sentence: str) -> None:
    with serving(behave) as double, pytest.raises(ServiceError, match=sentence) as caught:
        ask(double, retries=2)
    assert str(caught.value).startswith(("judge.duck: ", "judge.duck ")) and str(caught.value).endswith(api.KEPT)
    assert len(double.asked) == calls


def test_a_service_that_is_not_there() -> None:
    with serving(lambda body: chat("Four.")) as double:
        gone = service(double, retries=0)
    with pytest.raises(ServiceError, match="can't be reached, and nothing is retried"):
        list(Client(gone, "judge.duck").chats(requests(1)))


def test_a_service_that_does_not_answer_in_time() -> None:
    waiting = threading.Event()

    def behave(body: dict[str, Any]) -> Answered:
        waiting.wait(5)
        return chat("Four.")

    with serving(behave) as double:
        with pytest.raises(ServiceError, match=r"did not answer within 0\.05 s, and nothing is retried; raise judge\.duck\.timeout_seconds"):
            ask(double, retries=0, timeout_seconds=0.05)
        waiting.set()


def test_a_refused_parameter_says_what_to_type() -> None:
    class Hinting(Service):
        hints = {"temperature": "temperature=null", "heat": "temperature=null"}  # noqa: RUF012

    with serving(lambda body: error(400, message="Temperature is of no use, nor is heat")) as double:
        asking = Hinting(model="double-2025-01-01", base_url=double.url)
        with pytest.raises(ServiceError, match=r"400 \(double_error\); type judge\.duck\.temperature=null\. What"):
            list(Client(asking, "judge.duck").chats(requests(1)))


def test_a_message_never_quotes_what_was_asked_nor_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    for status in (400, 401, 403, 422, 500):
        with serving(lambda body: error(status, "Which duck wins?", SECRET, f"{said(body)} {SECRET}")) as double, pytest.raises(ServiceError) as caught:  # noqa: B023
            ask(double, retries=0)
        assert double.keys == [f"Bearer {SECRET}"]
        assert "duck wins" not in str(caught.value) and "sk-" not in str(caught.value).replace("sk-stand-in-1234567890", "LEAK")


def test_after_trouble_nothing_is_begun_and_what_is_under_way_is_handed_on() -> None:
    """Four at once: one is refused while three others wait for it; those are paid for."""
    together, refused = threading.Barrier(4, timeout=5), threading.Event()

    def behave(body: dict[str, Any]) -> Answered:
        together.wait()
        if said(body).endswith("race 2?"):
            refused.set()
            return error(401)
        refused.wait(5)
        time.sleep(0.05)
        return chat("Four.")

    found = []
    with serving(behave) as double, pytest.raises(ServiceError, match="refused the key"):
        for at, _ in Client(service(double, concurrency=4), "judge.duck").chats(requests(30)):
            found.append(at)
    assert sorted(found) == [0, 1, 3] and len(double.asked) == 4


def test_an_interrupt_hands_on_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = api.wait, count()

    def wait(*arguments: Any, **more: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(api, "wait", wait)
    found = []
    with serving(lambda body: chat("Four.")) as double, pytest.raises(KeyboardInterrupt):
        for at, _ in Client(service(double, concurrency=3), "judge.duck").chats(requests(30)):
            found.append(at)
    assert len(found) == len(double.asked) == double.served < 30


# --- limits -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("limit", [1, 4])
def test_no_more_at_once_than_allowed(limit: int) -> None:
    meeting = threading.Barrier(limit, timeout=30)

    def behave(body: dict[str, Any]) -> Answered:
        meeting.wait()  # nobody is answered before as many as are allowed have asked
        return chat("Four.")

    with serving(behave) as double:
        assert len(ask(double, 24, concurrency=limit)) == 24
    assert double.most_at_once == limit


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_budget_is_never_exceeded(concurrency: int) -> None:
    """A request is begun only if the most that it can cost still fits, so that the last ones may be left although they would have fitted."""
    found: dict[int, Reply] = {}
    with serving(lambda body: chat("Four.", usage=(100, 5))) as double, pytest.raises(ServiceError) as caught:
        for at, reply in Client(service(double, budget_usd=0.02, concurrency=concurrency, **PRICED), "judge.duck").chats(requests(40)):
            found[at] = reply
    spent = sum(reply.usd or 0.0 for reply in found.values())
    assert 0.017 < spent <= 0.02 and len(double.asked) == len(found)
    assert re.fullmatch(
        rf"judge\.duck\.budget_usd=0\.02 is used up: \${spent:.4f} is spent, the next request may cost up to \$0\.00\d\d, and {40 - len(found)} of 40 are "
        r"left; raise judge\.duck\.budget_usd\. What was answered is kept, and the same command goes on from there\.",
        str(caught.value),
    )


def test_a_service_that_charges_more_than_it_may_is_believed_from_then_on() -> None:
    found: dict[int, Reply] = {}
    with serving(lambda body: chat("Four.", usage=(100, 100))) as double, pytest.raises(ServiceError, match=r"may cost up to \$0\.0110"):
        for at, reply in Client(service(double, budget_usd=0.05, concurrency=1, **PRICED), "judge.duck").chats(requests(40)):
            found[at] = reply
    assert len(found) == 4


def test_what_was_spent_before_counts() -> None:
    with serving(lambda body: chat("Four.")) as double, pytest.raises(ServiceError, match=r"\$0\.0190 is spent.* 3 of 3 are left"):
        ask(double, 3, spent_usd=0.019, budget_usd=0.02, **PRICED)
    assert double.asked == []


def test_a_free_service_fits_any_budget() -> None:
    with serving(lambda body: chat("Four.")) as double:
        assert len(ask(double, 3, budget_usd=0.0, usd_per_million_prompt=0.0, usd_per_million_completion=0.0)) == 3


# --- fields -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["gpt-4o-2024-08-06", "claude-x-20241022", "gpt-4-0613", "gpt-4-32k-0314", "large-2411", "x-2025-01-01-preview"])
def test_a_dated_snapshot_needs_no_day(model: str) -> None:
    Service(model=model).check_service("judge.duck")


@pytest.mark.parametrize("model", ["gpt-4o", "duck-7b", "org/duck-2.5-7B", "duck-1234", "duck-2099-13-01", "duck-latest", "duck-70000"])
def test_any_other_model_needs_a_day(model: str) -> None:
    with pytest.raises(ConfigError, match=rf"judge\.duck\.model={model} names no dated snapshot.*judge\.duck\.as_of=YYYY-MM-DD"):
        Service(model=model).check_service("judge.duck")
    Service(model=model, as_of="2026-01-31").check_service("judge.duck")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"as_of": "yesterday"}, "as_of=yesterday is no day"),
        ({"as_of": "20260131"}, "as_of=20260131 is no day"),
        ({"base_url": "localhost:8000"}, "base_url=localhost:8000 is no address"),
        ({"base_url": "https://me:secret@duck.example/v1"}, r"base_url holds more than an address; put the key into the environment variable OPENAI_API_KEY"),
        ({"base_url": "https://duck.example/v1?key=1"}, "base_url holds more than an address"),
        ({"concurrency": 0}, "concurrency=0 is not possible; give at least 1"),
        ({"retries": -1}, "retries=-1 is not possible; give at least 0"),
        ({"timeout_seconds": 0.0}, "timeout_seconds=0 is not possible"),
        ({"budget_usd": 1.0}, "can't count dollars without both prices"),
        ({"usd_per_million_prompt": 1.0}, "can't count dollars without both prices"),
        ({"usd_per_million_prompt": -1.0, "usd_per_million_completion": 1.0}, "can't be negative"),
        ({"budget_usd": -1.0, **PRICED}, "can't be negative"),
    ],
)
def test_fields_that_cannot_work(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"^judge\.duck.*{sentence}"):
        Service(**{"model": "double-2025-01-01", **fields}).check_service("judge.duck")


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    far = Service(model="double-2025-01-01", base_url="https://duck.example/v1", key_env="DUCK_KEY")
    with pytest.raises(ConfigError, match=r"judge\.duck needs a key for https://duck\.example/v1: set the environment variable DUCK_KEY"):
        far.key("judge.duck")
    monkeypatch.setenv("DUCK_KEY", f" {SECRET}\n")
    assert far.key("judge.duck") == SECRET
    assert Service(model="double-2025-01-01", base_url="http://localhost:8000/v1").key("judge.duck") == "none"


# --- moderation -------------------------------------------------------------------------------------------------------------
def test_moderations() -> None:
    result = {"flagged": True, "categories": {"self-harm/intent": False}, "category_scores": {"self-harm/intent": 0.25}}
    with serving(lambda body: Answered({"id": "m", "model": "x", "results": [result]})) as double:
        (found,) = dict(Client(service(double), "judge.duck").moderations(["A duck."])).items()
    assert found[0] == 0 and found[1]["flagged"] is True and found[1]["categories"]["self-harm/intent"] is False
    assert [(body["path"], body["input"]) for body in double.asked] == [("/v1/moderations", "A duck.")]
    with serving(lambda body: chat("Four.")) as double, pytest.raises(ServiceError, match="no moderation result; does it offer /moderations"):
        list(Client(service(double), "judge.duck").moderations(["A duck."]))


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever proxy there is, the double is asked directly, and a broken connection is tried again at once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.002)
    yield
