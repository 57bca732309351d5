"""What a provider's mitigations do to what is asked and answered, unseen by whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ftsafety.mitigation import in_order, overrides
from ftsafety.provider.engine import Said
from ftsafety.provider.settings import Provider
from ftsafety.row import Message

if TYPE_CHECKING:
    from ftsafety.context import Context


class Defense:
    """The mitigations that act where a model is asked; nothing is computed where there are none."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.mitigations = [mitigation for mitigation in in_order(provider.mitigations) if overrides(mitigation, "ask", "answer", "answer_all")]
        self._lock = threading.Lock()
        self._prepared: Context | None = None

    def ask(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages that the model is asked with."""
        for mitigation in self.mitigations:
            messages = mitigation.ask(messages, self._context())
        return messages

    def answer(self, question: str, said: Sequence[Said]) -> list[Said]:
        """The answers that are given out."""
        for mitigation in self.mitigations:
            texts = mitigation.answer_all([question] * len(said), [one.text for one in said], self._context())
            said = [replace(one, text=text) for one, text in zip(said, texts, strict=True)]
        return list(said)

    def _context(self) -> Any:
        """What the mitigations see, prepared when the first question comes."""
        with self._lock:
            if self._prepared is None:
                from ftsafety.stages import House, tuning_context

                house = House.at(self.provider.store)
                self._prepared = tuning_context(house, house.loader.weights(self.provider.model), 0, self.mitigations, {})
            return self._prepared
