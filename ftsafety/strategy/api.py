"""The way of a provider behind a fine-tuning API: which parameters move is its secret, and little of how can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from ftsafety.errors import ConfigError
from ftsafety.strategy.base import Strategy

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class Api(Strategy):
    """Tuning by the service that hosts the model; chosen with such a model by itself. Epochs and batch size are ``tuning``'s."""

    source = "OpenAI API reference, POST /v1/fine_tuning/jobs; Qi et al. 2024, section 3, threat model (b)"
    fidelity = "the paper's code sets epochs only, and the batch size is set here too"
    offers: ClassVar[frozenset[str]] = frozenset()
    merges: ClassVar[bool] = False
    hosted: ClassVar[bool] = True

    lr: float = field(init=False, default=0.0)
    """Not known."""
    learning_rate_multiplier: float | None = None
    """Factor of the provider's own learning rate; null leaves it to the provider, as in the paper."""

    def check(self, where: str) -> None:
        if self.learning_rate_multiplier is not None and not self.learning_rate_multiplier > 0:
            raise ConfigError(f"{where}.learning_rate_multiplier={self.learning_rate_multiplier:g} is not possible; give more than 0, or null.")

    def attach(self, model: Any, seed: int) -> Any:
        self._elsewhere()

    def export(self, model: Any) -> dict[str, torch.Tensor]:
        self._elsewhere()

    def restore(self, model: Any, folder: Path) -> Any:
        self._elsewhere()

    def _elsewhere(self) -> NoReturn:
        raise ConfigError("strategy=api tunes where the model is hosted; choose another strategy, such as strategy=lora, for weights that are here.")
