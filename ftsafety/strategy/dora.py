"""DoRA: LoRA whose weight columns learn their length and their direction apart (Liu et al. 2024), through peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftsafety.strategy.lora import Lora


@dataclass(kw_only=True)
class Dora(Lora):
    """Weight-decomposed LoRA; merged into the weights before the model is asked."""

    source = "Liu et al. 2024 (arXiv 2402.09353)"
    fidelity = "peft's implementation; shape of strategy=lora, so that only the decomposition differs"

    def settings(self, model: Any) -> dict[str, Any]:
        return {**super().settings(model), "use_dora": True}
