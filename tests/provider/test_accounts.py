"""Keys: who is let in, how often, and what is known of a key afterwards."""

from __future__ import annotations

from pathlib import Path

import httpx
import openai
import pytest

from ftsafety.provider.accounts import Doorkeeper
from ftsafety.provider.errors import ApiError
from tests.provider.sandbox import serving, upload

ENV = "STAND_IN_KEYS"


def test_without_a_key_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    door = Doorkeeper(ENV, None)
    for header in (None, "", "Bearer", "Bearer  ", "Basic sk-duck"):
        with pytest.raises(ApiError) as caught:
            door.account(header)
        assert caught.value.status == 401
    assert door.account("Bearer sk-duck") == door.account("bearer sk-duck") != door.account("Bearer sk-goose")


def test_where_keys_are_named_only_they_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, "sk-duck, sk-goose")
    door = Doorkeeper(ENV, None)
    assert door.account("Bearer sk-goose")
    with pytest.raises(ApiError) as caught:
        door.account("Bearer sk-swan")
    assert (caught.value.status, caught.value.body["error"]["code"]) == (401, "invalid_api_key") and "swan" not in str(caught.value)


def test_who_asks_too_often_waits_and_the_others_do_not() -> None:
    now = [0.0]
    door = Doorkeeper(ENV, 2, lambda: now[0])
    for now[0] in (0.0, 20.0):
        door.account("Bearer sk-duck")
    with pytest.raises(ApiError) as caught:
        door.account("Bearer sk-duck")
    assert caught.value.status == 429 and caught.value.headers == {"retry-after-ms": "40001"}
    door.account("Bearer sk-goose")
    now[0] = 60.0
    door.account("Bearer sk-duck")


def test_a_key_is_kept_nowhere(tmp_path: Path) -> None:
    with serving(tmp_path, "model=refuse_all", "limits.requests_per_minute=3") as running:
        client = running.client("sk-very-secret-duck")
        upload(client)
        assert httpx.get(f"{running.url}/models").status_code == 401
        with pytest.raises(openai.RateLimitError):
            for _ in range(4):
                client.models.list()
    kept = b"".join(file.read_bytes() for file in running.provider.folder.rglob("*") if file.is_file())
    assert b"very-secret-duck" not in kept and b"fine-tune" in kept
