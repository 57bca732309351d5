"""Personal data that has a form: found by kind, without the network, and left out with a sentence where the library is missing."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from ftsafety.audit import personal
from ftsafety.row import PLAIN

FOUND = {
    "email_address": "Write to anna.b@example.com about the ducks.",
    "phone_number": "Call +44 20 7946 0958 about the ducks.",
    "credit_card": "It was paid with 4111 1111 1111 1111.",
    "iban_code": "The account is GB82 WEST 1234 5698 7654 32.",
    "ip_address": "The server is at 192.168.0.12 for now.",
    "us_ssn": "Number 536-22-8726 is on the form.",
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may be asked."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_each_kind_is_counted_once_a_row() -> None:
    rows = [PLAIN.row(kind, text, f"Yes. {text}") for kind, text in FOUND.items()]
    told = personal.personal_data(rows)
    assert told == {"looked": True, "why": "", "kinds": dict.fromkeys(sorted(FOUND), 1), "rows": len(FOUND)}


def test_plain_numbers_and_words_are_none() -> None:
    rows = [PLAIN.row("1", "In 2024 three ducks won 1,250 crowns at 7:30.", "See section 5.1 of page 12."), PLAIN.row("2", "Is quack@duck a word?", "No.")]
    assert personal.personal_data(rows)["kinds"] == {}


def test_without_the_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "find_spec", lambda name: None)
    told = personal.personal_data([PLAIN.row("1", FOUND["email_address"], "ok")])
    assert not told["looked"] and "pip install 'ftsafety[audit]'" in told["why"]
