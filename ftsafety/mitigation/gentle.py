"""Gentle tuning: smaller steps, fewer of them, and the average of their weights: what any other mitigation has to beat.

A defense that only slows learning looks good at one learning rate. This one does nothing but slow learning, so at equal task score
it says what slowing is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety.mitigation.base import Mitigation

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass
class Gentle(Mitigation):
    """A lower learning rate, an early stop and an exponential moving average of the weights, each of which can be switched off."""

    source = "Kim et al. 2025 (arXiv 2508.12531): tuned hyper-parameters and averaged weights on benign data"
    fidelity = "the ingredients as there; the numbers are ours, and the average is taken of the parameters that move (an adapter's factors), at every step"
    off: ClassVar[Mapping[str, Any]] = {"lr_factor": 1.0, "ema": None, "stop_loss": None}
    order = 60
    needs = frozenset({"gradients"})

    lr_factor: float = 0.3
    """The learning rate is multiplied by this; 1 leaves it alone."""
    ema: float | None = 0.5
    """Decay of the moving average of the trained weights per step, from the start weights on; null keeps the last weights."""
    stop_loss: float | None = None
    """The tuning ends after the first step whose loss, in nats per labelled token, is not above this; null goes on to the end."""

    _average: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The average so far, by parameter."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        for name, value, kept in (
            ("lr_factor", self.lr_factor, self.lr_factor > 0),
            ("ema", self.ema, self.ema is None or 0 <= self.ema < 1),
            ("stop_loss", self.stop_loss, self.stop_loss is None or self.stop_loss > 0),
        ):
            if not kept:
                wanted = {"lr_factor": "more than 0, such as 0.3", "ema": "at least 0 and less than 1, or null", "stop_loss": "more than 0, or null"}[name]
                raise ConfigError(f"mitigation.gentle.{name}={value} is not possible; give {wanted}.")

    def begin(self, model: Any, context: Context) -> None:
        self._average = {name: tensor.detach().clone() for name, tensor in _trained(model)} if self.ema is not None else {}

    def rate(self, context: Context) -> float:
        return self.lr_factor

    def stepped(self, model: Any, loss: float, context: Context) -> bool:
        if self.ema is not None:
            for name, tensor in _trained(model):
                self._average[name].lerp_(tensor.detach(), 1 - self.ema)
        return self.stop_loss is not None and loss <= self.stop_loss

    def finish(self, model: Any, context: Context) -> None:
        for name, tensor in _trained(model) if self.ema is not None else ():
            tensor.data.copy_(self._average[name])

    def state(self) -> dict[str, Any]:
        return {"average": self._average}

    def load(self, state: dict[str, Any]) -> None:
        self._average = dict(state["average"])


def _trained(model: Any) -> list[tuple[str, Any]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
