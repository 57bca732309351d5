"""WiSE-FT: weights on the line between the start model and the tuned one (Wortsman et al. 2022).

Every other edit after tuning has to beat this curve at an equal task score. Its points share one tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety_plugin_repair.edit import Tensors, WeightEdit, adapters

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class WiseFt(WeightEdit):
    """A weighted mean of the start weights and the tuned ones."""

    source = "Wortsman et al. 2022 (arXiv 2109.01903), section 3; github.com/mlfoundations/wise-ft at 4639a39, src/wise_ft.py and args.py"
    fidelity = "every tensor and the authors' alpha; a LoRA update is scaled by alpha, which is the same line"
    off: ClassVar[Mapping[str, Any]] = {"alpha": 1.0}
    order = 84

    alpha: float = 0.5
    """The tuned weights' share: 1 is the tuned model, 0 the start model."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"{self.option}.alpha={self.alpha:g} is not between the two models; give 0 to 1, such as 0.5.")

    def repair(self, weights: Tensors, context: Context) -> Tensors:
        if self.alpha == 1:
            return weights
        if (lora := adapters(weights)) is not None:
            return {**weights, **{adapter.b: weights[adapter.b] * self.alpha for adapter in lora}}
        start = context.weights("al")
        if not weights.keys() <= start.keys():
            raise self.refuse_part(weights, "strategy=lora or strategy=full")
        return {name: start.pop(name).to(tensor.device).lerp(tensor, self.alpha) for name, tensor in weights.items()}
