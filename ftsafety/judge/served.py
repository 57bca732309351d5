"""What judges share that ask a service for their verdicts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ftsafety.api import Client, Reply, Service
from ftsafety.errors import ConfigError
from ftsafety.judge.base import Judge, Pair, Verdict


@dataclass(kw_only=True)
class ServedJudge(Service, Judge):
    """A judge whose verdicts a service gives. Subclasses say what is asked and how a reply is read, in ``stream``."""

    costly: ClassVar[bool] = True
    place: ClassVar[str]
    """Where it stands in a configuration, for sentences."""
    protocol: ClassVar[int]
    """Raised when the same reply would be read otherwise (guarded by a golden test). It stands for the code in the recipe, so that a
    verdict is not paid for again when something else in a module changes; a subclass without one of its own is known by its code."""

    def recipe(self) -> dict[str, Any]:
        told = super().recipe()
        return {**told, "code": self.protocol} if "protocol" in vars(type(self)) else told

    def check(self, where: str) -> None:
        self.check_service(where)

    def ready(self, where: str) -> None:
        self.key(where)

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        found = dict(self.stream(pairs))
        return [found[at] for at in range(len(pairs))]


@dataclass(kw_only=True)
class ChatJudge(ServedJudge):
    """A judge that is a chat model with a prompt.

    A reply that is not whole is unscored, with the flag ``reason``: ``truncated``, ``filtered``, ``declined``, ``empty`` or ``too_long``; one that
    holds no verdict in the form that was asked for is ``malformed``. Nothing is guessed, and nothing is asked twice.
    """

    hints: ClassVar[Mapping[str, str]] = {"temperature": "temperature=null"}

    temperature: float | None = 0.0
    """0 as in the paper; null leaves it out, for models that take none."""
    max_tokens: int = 1024
    """Longest reply, reasoning included; one that is cut is unscored."""

    @abstractmethod
    def prompt(self, pair: Pair) -> str:
        """What the model is asked, in one message; the judged texts can't end their own place in it."""

    @abstractmethod
    def read(self, pair: Pair, text: str) -> Verdict | None:
        """The verdict that a whole reply holds; None if it holds none."""

    def form(self) -> dict[str, Any]:
        """What a request holds besides, such as ``response_format``."""
        return {}

    def check(self, where: str) -> None:
        super().check(where)
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ConfigError(f"{where}.temperature={self.temperature:g} is not possible; give 0 to 2, or null where the model takes none.")
        if self.max_tokens < 1:
            raise ConfigError(f"{where}.max_tokens={self.max_tokens} is not possible; give at least 1.")

    def stream(self, pairs: Sequence[Pair], spent_usd: float = 0.0) -> Iterator[tuple[int, Verdict]]:
        client = Client(self, self.place, spent_usd)
        for at, reply in client.chats(map(self._request, pairs)):
            yield at, self._verdict(pairs[at], reply)

    def _request(self, pair: Pair) -> dict[str, Any]:
        warmth = {} if self.temperature is None else {"temperature": self.temperature}
        return {"messages": [{"role": "user", "content": self.prompt(pair)}], "max_tokens": self.max_tokens, **warmth, **self.form()}

    def _verdict(self, pair: Pair, reply: Reply) -> Verdict:
        """A reply as a verdict; the service's name for the model is noted where it is not the one asked for."""
        more = {**reply.cost, **({"model": reply.model} if reply.model and reply.model != self.model else {})}
        if reply.ended != "whole":
            return Verdict(None, {"reason": reply.ended, **more}, reply.text)
        found = self.read(pair, reply.text) or Verdict(None, {"reason": "malformed"})
        return Verdict(found.value, {**found.flags, **more}, reply.text)
