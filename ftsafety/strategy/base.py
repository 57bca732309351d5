"""Which parameters move when a model is fine-tuned, and how the result is saved and put back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
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
    """What mitigations may ask for under this strategy; ``weights`` are tuned weights that can be edited afterwards."""
    merges: ClassVar[bool] = True
    """Whether ``restore`` gives a plain model again, on which anything can be trained; a wrapped one can only be asked."""

    hosted: ClassVar[bool] = False
    """Whether the tuning is done by a service that hosts the model, so that nothing is attached, saved or put back here."""

    def check(self, where: str) -> None:
        """Refuse numbers that can't be trained with; ``where`` is the strategy's place in the configuration."""
        if not self.lr > 0:
            raise ConfigError(f"{where}.lr={self.lr:g} is not possible; give more than 0.")

    @abstractmethod
    def attach(self, model: Any, seed: int) -> Any:
        """Make the right parameters trainable; returns the model to train. New parameters are drawn from ``seed``.

        Raises:
            ConfigError: a model that this strategy can't serve.
        """

    @abstractmethod
    def export(self, model: Any) -> dict[str, torch.Tensor]:
        """The trained part, name to tensor, on the CPU."""

    @abstractmethod
    def restore(self, model: Any, folder: Path) -> Any:
        """The start model with a saved trained part put in; ``folder`` holds ``weights.safetensors`` and what ``describe`` wrote.

        Raises:
            ConfigError: a trained part of another model.
        """

    def why_not_share(self) -> str | None:
        """Why rows' common beginning can't be computed once in training; None where a test shows that it changes nothing."""
        return f"no test shows it to be exact for {type(self).__name__}"

    def describe(self, model: Any, folder: Path) -> None:
        """Write what ``restore`` needs beside the weights (an adapter's configuration)."""


def refuse_adapted(model: Any) -> None:
    """Refuse to train on top of an adapter that can't be merged: a saved part would not say what it sits on.

    Raises:
        ConfigError: names the adapter.
    """
    if hasattr(model, "active_peft_config"):
        method = model.active_peft_config.peft_type.value.lower()
        raise ConfigError(
            f"the start model carries an adapter that can't be merged ({method}), and nothing is trained on top of one; "
            "align it with a strategy that can be, such as LoRA or full fine-tuning."
        )


def refuse_another(folder: Path, saved: Mapping[str, torch.Tensor], here: Mapping[str, torch.Tensor]) -> None:
    """Refuse saved tensors that don't fit a model one by one; torch and peft would leave out what they can't place.

    Raises:
        ConfigError: names the first tensor that does not fit.
    """
    for name in sorted({*saved, *here}):
        if name not in here:
            misfit = f"{name} has no place in this one"
        elif name not in saved:
            misfit = f"it holds no {name}"
        elif saved[name].shape != here[name].shape:
            misfit = f"{name} is {list(saved[name].shape)}, and {list(here[name].shape)} here"
        else:
            continue
        raise ConfigError(f"{folder}: the trained part is for another model ({misfit}); put it back on the model that it was trained on.")
