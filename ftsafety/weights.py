"""Weights by reference: a start model and what was trained on top of it, in order; loaded only when somebody needs them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ftsafety.hashing import digest_of
from ftsafety.model import Chat, Model
from ftsafety.strategy import Strategy


@dataclass(frozen=True)
class Layer:
    """A trained part: the folder that holds it, its content digest and the strategy that puts it back."""

    folder: Path
    digest: str
    strategy: Strategy


@dataclass(frozen=True)
class Weights:
    """A model and the layers on top of it; ``digest`` says what they are, wherever they lie."""

    model: Model
    fingerprint: str
    layers: tuple[Layer, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of the model's weights and of each layer, in order."""
        return digest_of([self.fingerprint, *[layer.digest for layer in self.layers]])

    def plus(self, layer: Layer) -> Weights:
        """These weights with one more layer on top."""
        return replace(self, layers=(*self.layers, layer))


class Loader:
    """Loads weights and keeps the last ones, since neighbouring stages ask for the same."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._chats: OrderedDict[str, Chat] = OrderedDict()
        self._tokenizers: dict[str, Any] = {}

    def weights(self, model: Model) -> Weights:
        """A start model's weights, not loaded yet."""
        return Weights(model, model.fingerprint(self.store))

    def tokenizer(self, weights: Weights) -> Any:
        """The model's tokenizer, without its weights."""
        if weights.fingerprint not in self._tokenizers:
            self._tokenizers[weights.fingerprint] = weights.model.load_tokenizer(self.store)
        return self._tokenizers[weights.fingerprint]

    def chat(self, weights: Weights) -> Chat:
        """The loaded model, for asking; don't change it."""
        if weights.digest not in self._chats:
            while self._chats:
                self._chats.popitem()
            self._chats[weights.digest] = self.fresh(weights)
        return self._chats[weights.digest]

    def fresh(self, weights: Weights) -> Chat:
        """A loaded model of one's own, for tuning; layers are merged in order."""
        chat = weights.model.load(self.store)
        for layer in weights.layers:
            chat.module = layer.strategy.restore(chat.module, layer.folder)
        if chat.module is not None:
            chat.module.eval().requires_grad_(False)
        return chat
