"""Which parameters move when a model is fine-tuned, and how the result is saved and put back."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.component import Component
from ftsafety.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class Strategy(Component):
    """A way of fine-tuning."""

    lr: float
    """Learning rate."""

    offers: ClassVar[frozenset[str]] = frozenset({"weights", "gradients", "activations", "logits"})
    """What mitigations may ask for under this strategy."""

    def check(self, where: str) -> None:
        """Refuse numbers that can't be trained with; ``where`` is the strategy's place in the configuration."""
        if not self.lr > 0:
            raise ConfigError(f"{where}.lr={self.lr:g} is not possible; give more than 0.")

    @abstractmethod
    def attach(self, model: Any, seed: int) -> Any:
        """Make the right parameters trainable; returns the model to train. New parameters are drawn from ``seed``."""

    @abstractmethod
    def export(self, model: Any) -> dict[str, torch.Tensor]:
        """The trained part, name to tensor, on the CPU."""

    @abstractmethod
    def restore(self, model: Any, folder: Path) -> Any:
        """The start model with a saved trained part put in; ``folder`` holds ``weights.safetensors`` and what ``describe`` wrote."""

    def why_not_share(self) -> str | None:
        """Why rows' common beginning can't be computed once in training; None where a test shows that it changes nothing."""
        return f"no test shows it to be exact for {type(self).__name__}"

    def describe(self, model: Any, folder: Path) -> None:
        """Write what ``restore`` needs beside the weights (an adapter's configuration)."""
