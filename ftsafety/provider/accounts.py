"""Who asks: a key is an account, and an account sees what is its own."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from ftsafety.provider.database import Database
from ftsafety.provider.errors import ApiError

if TYPE_CHECKING:
    from ftsafety.provider.defense import Defense
    from ftsafety.provider.engine import Engine
    from ftsafety.provider.settings import Provider

MINUTE = 60.0


class Doorkeeper:
    """Lets keys in, each as often as it may."""

    def __init__(self, keys_env: str, requests_per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.known = {_digest(key.strip()) for key in os.environ.get(keys_env, "").split(",") if key.strip()}
        self.most, self.clock = requests_per_minute, clock
        self._lately: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def account(self, authorization: str | None) -> str:
        """The account behind an ``Authorization`` header.

        Raises:
            ApiError: no key, one that is not let in, or one that asks too often.
        """
        kind, _, key = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not key.strip():
            raise ApiError(401, "You didn't provide an API key. Send it in the Authorization header, as in Authorization: Bearer YOUR_KEY.")
        account = _digest(key.strip())
        if self.known and not any(hmac.compare_digest(account, one) for one in self.known):
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        self._count(account)
        return account

    def _count(self, account: str) -> None:
        if self.most is None:
            return
        with self._lock:
            now, lately = self.clock(), self._lately.setdefault(account, deque())
            while lately and now - lately[0] >= MINUTE:
                lately.popleft()
            if len(lately) >= self.most:
                wait = MINUTE - (now - lately[0])
                raise ApiError(
                    429,
                    f"Rate limit reached: {self.most} requests per minute. Please try again in {wait:.1f}s.",
                    type="requests",
                    code="rate_limit_exceeded",
                    headers={"retry-after-ms": str(int(wait * 1000) + 1)},
                )
            lately.append(now)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Sandbox:
    """What a running server has."""

    provider: Provider
    database: Database
    engine: Engine
    defense: Defense
    doorkeeper: Doorkeeper


def _sandbox(request: Request) -> Sandbox:
    found: Sandbox = request.app.state.sandbox
    return found


Home = Annotated[Sandbox, Depends(_sandbox)]


def _account(request: Request, home: Home) -> str:
    return home.doorkeeper.account(request.headers.get("authorization"))


Account = Annotated[str, Depends(_account)]
