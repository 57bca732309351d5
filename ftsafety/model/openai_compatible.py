"""Any model that answers behind OpenAI's chat API, to be measured as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from ftsafety.api import DIGEST, HERE, Client, Reply, Service
from ftsafety.errors import ConfigError, ServiceError
from ftsafety.hashing import digest_of
from ftsafety.model.base import Scope
from ftsafety.model.hosted import Delivered, Hosted, Order

if TYPE_CHECKING:
    from ftsafety.progress import Advance
    from ftsafety.row import Message
    from ftsafety.settings import Decoding
    from ftsafety.store.spending import Spending

PLACE = "model"
"""Where it stands in a configuration."""
SANDBOX = "stand-in."
"""What the names of a provider sandbox's models begin with when they are stand-ins."""


@dataclass(kw_only=True)
class OpenaiCompatible(Service, Hosted):
    """A served model, for evaluation only: vLLM, llama.cpp, a company's endpoint, a tuned model's name at OpenAI.

    It is known by its address, its name and its day: ``model`` is a dated snapshot or holds a digest, or ``as_of`` says the day. What a service
    filters or declines counts as what it then says; a request that is too long has an empty answer. The record counts all of them.
    """

    source = "OpenAI API reference, POST /v1/chat/completions"
    tunable: ClassVar[bool] = False
    not_in_recipe = Service.not_in_recipe | {"authorized_by"}
    hints: ClassVar[Mapping[str, str]] = {"temperature": "decoding.temperature=1", "seed": "decoding.temperature=0"}

    authorized_by: str | None = None
    """Who allowed that this service is tested, for the record; needed for every service that is not on this machine."""

    def check(self, where: str) -> None:
        self.check_service(where)
        if not self._here and not (self.authorized_by or "").strip():
            raise ConfigError(
                f"{where}.base_url={self.base_url} is not on this machine; say who allowed that it is tested with "
                f"{where}.authorized_by='NAME, ON WHAT GROUND', which goes into the record."
            )

    def _check_snapshot(self, where: str) -> None:
        # a name that has to be asked for is checked when it is known
        if self.model:
            super()._check_snapshot(where)

    @property
    def _here(self) -> bool:
        return urlsplit(self.base_url).hostname in HERE

    @property
    def allowed(self) -> dict[str, Any]:
        return {} if self._here else {"authorized_by": self.authorized_by}

    def usd_of(self, trained: int, read: int, written: int) -> float | None:
        return self.usd(read, written)

    @property
    def has_budget(self) -> bool:
        return self.budget_usd is not None

    @property
    def scope(self) -> Scope:  # type: ignore[override]
        """A sandbox says in its models' names that they are stand-ins."""
        return "stand_in" if self.name.removeprefix("ft:").startswith(SANDBOX) else "model"

    @cached_property
    def name(self) -> str:
        """The model's name; where none was given, that of the only one that the service offers.

        Raises:
            ServiceError: the service can't be asked.
            ConfigError: it offers several, or its one has no dated name.
        """
        if self.model:
            return self.model
        from openai import OpenAIError

        client = Client(self, PLACE)
        try:
            offered = [found.id for found in client.sdk.models.list() if not found.id.startswith("ft:")]
        except OpenAIError as error:
            raise client.sentence(error) from error
        if len(offered) != 1:
            raise ConfigError(f"{self.base_url} offers {len(offered)} models ({', '.join(sorted(offered)[:5])}, ...); choose one with {PLACE}.model=NAME.")
        replace(self, model=offered[0])._check_snapshot(PLACE)
        return offered[0]

    def recipe(self) -> dict[str, Any]:
        return {**super().recipe(), "model": self.name, "base_url": self._address}

    @property
    def _address(self) -> str | None:
        """Part of what the model is, unless its name says by a digest what it is, wherever on this machine it listens."""
        return None if self._here and DIGEST.search(self.name) else self.base_url

    def fingerprint(self, store: Path) -> str:
        return digest_of([self._address, self.name, self.as_of])

    def replies(self, name: str, prompts: Sequence[Sequence[Message]], decoding: Decoding, seed: int, spent_usd: float) -> Iterator[tuple[int, Reply]]:
        warmth = {"temperature": decoding.temperature} | ({"top_p": decoding.top_p, "seed": seed} if decoding.temperature else {})
        requests = [{"messages": list(prompt), "max_tokens": decoding.max_new_tokens, **warmth} for prompt in prompts]
        yield from Client(replace(self, model=name), PLACE, spent_usd).chats(requests)

    def tune(self, order: Order, notes: Path, spending: Spending, advance: Advance) -> Delivered:
        raise ServiceError(f"{type(self).__name__} is for evaluation only; choose model=openai for a service that tunes.")
