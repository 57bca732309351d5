"""Task arithmetic for safety: the difference of two models, one safe and one not, is added to the tuned weights.

The arithmetic is that of whole weights: the sum of two LoRA updates is no LoRA update of the same rank, and adding their factors one by
one is another thing. So an adapter is merged first, and the result is a whole model; what can't be merged is refused.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety_plugin_repair.edit import Tensors, WeightEdit

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class SafetyVector(WeightEdit):
    """Base of the edits that add ``scale`` times the start weights minus less safe ones; every tensor is included, a tied one once."""

    off: ClassVar[Mapping[str, Any]] = {"scale": 0.0, "dare_task": 0.0}
    order = 84
    dense = True

    scale: float = 0.5
    """How much of the safety vector is added; 0 changes nothing, where both drop rates are 0."""
    dare_task: float = 0.0
    """Share of what tuning changed that is set to zero at random, the rest rescaled (DARE, Yu et al. 2024); 0 is off."""
    dare_safety: float = 0.0
    """The same for the safety vector."""

    @property
    def idle(self) -> bool:
        """Whether nothing is edited."""
        return not self.scale and not self.dare_task

    @abstractmethod
    def less_safe(self, context: Context) -> Tensors:
        """The weights that are subtracted from the start model's."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        for name in ("dare_task", "dare_safety"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{self.option}.{name}={getattr(self, name):g} is not possible; give at least 0 and less than 1.")

    def repair(self, weights: Tensors, context: Context) -> Tensors:
        if self.idle:
            return weights
        start = context.weights("al")
        if not weights.keys() <= start.keys():
            raise self.refuse_part(weights, "a strategy whose part can be merged into the weights (lora, full)")
        less = self.less_safe(context)
        self.refuse_misfit(weights, weights, less)
        return {name: self._one(name, tensor, start.pop(name), less.pop(name), context) for name, tensor in weights.items()}

    def _one(self, name: str, tuned: torch.Tensor, start: torch.Tensor, less: torch.Tensor, context: Context) -> torch.Tensor:
        start = start.to(tuned.device)
        if self.dare_task:
            tuned = start + dare(tuned - start, self.dare_task, context.number(f"{self.name}/dare_task/{name}"))
        vector = start - less.to(tuned.device)
        if self.dare_safety:
            vector = dare(vector, self.dare_safety, context.number(f"{self.name}/dare_safety/{name}"))
        return tuned + self.scale * vector


def dare(delta: torch.Tensor, rate: float, seed: int) -> torch.Tensor:
    """A difference with a share ``rate`` of its entries set to zero and the rest divided by ``1 - rate``; the same on average."""
    import torch

    kept = torch.rand(delta.shape, generator=torch.Generator().manual_seed(seed)) >= rate
    return delta * kept.to(delta.device) / (1 - rate)
