"""Models that are asked, and perhaps tuned, where they are hosted: nothing of them is loaded here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from ftsafety.errors import FtsafetyError
from ftsafety.model.base import Chat, Model

if TYPE_CHECKING:
    from ftsafety.api import Reply
    from ftsafety.progress import Advance
    from ftsafety.row import Message, Row
    from ftsafety.settings import Decoding
    from ftsafety.store.spending import Spending


@dataclass(frozen=True)
class Order:
    """A tuning to be done elsewhere.

    Args:
        key: the stage's key in the store, by which the service's job is found again.
        model: what to begin with: the hosted model's name, or that of one tuned from it.
        learning_rate_multiplier: factor of the provider's own learning rate; None leaves it to the provider.
    """

    key: str
    model: str
    rows: Sequence[Row]
    epochs: int
    batch_size: int
    learning_rate_multiplier: float | None
    seed: int

    @property
    def steps(self) -> int:
        """Optimiser steps, where the last batch of an epoch may be smaller."""
        return self.epochs * -(-len(self.rows) // self.batch_size)


@dataclass(frozen=True)
class Delivered:
    """What came of an order: the tuned model's name, what the service says about the tuning, and the losses that it told of."""

    model: str
    told: dict[str, Any]
    losses: list[float]


BYTES_A_TOKEN = 4
"""For likely numbers of tokens; the highest possible one takes every byte for a token."""


def likely_tokens(messages: Iterable[Message]) -> int:
    """About how many tokens messages have, since the service shows none before it is asked."""
    return sum(len(message["content"].encode()) for message in messages) // BYTES_A_TOKEN


class Hosted(Model):
    """A model behind a service. Its weights are known by name: what it answers is keyed by where it is, what it is called and of which day it is."""

    local: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """What the service calls it."""

    @abstractmethod
    def replies(self, name: str, prompts: Sequence[Sequence[Message]], decoding: Decoding, seed: int, spent_usd: float) -> Iterator[tuple[int, Reply]]:
        """Ask the hosted model, or one tuned from it; replies come with their prompt's place, in the order in which they are ready.

        Raises:
            ServiceError: the service can't be asked any further; what was answered has been handed on.
        """

    @abstractmethod
    def tune(self, order: Order, notes: Path, spending: Spending, advance: Advance) -> Delivered:
        """Have a model tuned, or take up the job that an interrupted run has left at the service.

        Args:
            notes: a folder that survives an interruption.

        Raises:
            ServiceError: the service refuses, or the budget does not suffice; nothing is paid for twice.
        """

    @abstractmethod
    def usd_of(self, trained: int, read: int, written: int) -> float | None:
        """The list price of so many tokens trained on, read and written; None where a price that is needed is not given."""

    @property
    @abstractmethod
    def has_budget(self) -> bool:
        """Whether spending is limited, so that it has to be done by one process at a time."""

    @property
    @abstractmethod
    def allowed(self) -> dict[str, Any]:
        """Who authorised that this service is tested, for the record; empty where nobody has to."""

    def load_tokenizer(self, store: Path) -> NoReturn:
        raise FtsafetyError(f"{type(self).__name__} is hosted elsewhere and shows no tokens; choose a model whose weights are here.")

    def load(self, store: Path) -> Chat:
        raise FtsafetyError(f"{type(self).__name__} is hosted elsewhere and can't be loaded; choose a model whose weights are here.")
