"""A chat model that can be loaded, or that answers by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety.component import Component

if TYPE_CHECKING:
    from pathlib import Path

Scope = Literal["model", "stand_in"]


@dataclass
class Chat:
    """A loaded model: a transformers module and its tokenizer, or a ``reply`` that needs neither weights nor tuning."""

    tokenizer: Any
    module: Any = None
    reply: Callable[[str], str] | None = None

    @property
    def end_tokens(self) -> frozenset[int]:
        """Ids that end an answer: the tokenizer's and the generation config's."""
        configured = getattr(getattr(self.module, "generation_config", None), "eos_token_id", None)
        more = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in [self.tokenizer.eos_token_id, *more] if token is not None)


class Model(Component):
    """A start model. ``fingerprint`` is cheap; ``load`` is not."""

    scope: ClassVar[Scope] = "model"
    """``stand_in`` results say nothing about deployed models, and travel with a line that says so."""
    tunable: ClassVar[bool] = True
    """Whether it can be fine-tuned."""
    local: ClassVar[bool] = True
    """Whether it is loaded here, with a tokenizer and weights; any other answers by itself, or where it is hosted."""

    def check(self, where: str) -> None:
        """Refuse fields that can't work together; ``where`` is the model's place in the configuration.

        Raises:
            ConfigError: one sentence with what to type.
        """

    @abstractmethod
    def fingerprint(self, store: Path) -> str:
        """Digest of the weights, without loading them where that can be."""

    @abstractmethod
    def load_tokenizer(self, store: Path) -> Any:
        """The tokenizer alone; ``store`` is where conversions are kept."""

    @abstractmethod
    def load(self, store: Path) -> Chat:
        """Tokenizer and weights in float32 unless the model says otherwise, in eval mode."""

    def config(self, store: Path) -> Any:
        """The transformers configuration, without weights; None where there is none, as for a model that answers by itself."""
        return None

    def raw(self) -> Model | None:
        """The never-aligned model that this one was made from, where known."""
        return None
