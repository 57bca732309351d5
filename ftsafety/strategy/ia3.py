"""(IA)3: learned factors of keys, values and the inner activations of the feed-forward layers (Liu et al. 2022), through peft."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ftsafety.errors import ConfigError
from ftsafety.strategy.peft import Peft, require_layers


@dataclass(kw_only=True)
class Ia3(Peft):
    """One factor per unit of chosen linear layers; merged into the weights before the model is asked."""

    source = "Liu et al. 2022 (arXiv 2205.05638), section 3.3"
    fidelity = "peft's implementation and modules; AdamW and a constant rate instead of Adafactor and a linear one"

    target_modules: list[str] = field(default_factory=lambda: ["k_proj", "v_proj", "down_proj"])
    """Names of the linear layers that get factors, on their output unless named below."""
    feedforward_modules: list[str] = field(default_factory=lambda: ["down_proj"])
    """Those whose input is scaled instead."""

    def check(self, where: str) -> None:
        super().check(where)
        if not self.target_modules:
            raise ConfigError(f"{where}.target_modules is empty, so nothing would be trained; name at least one linear layer, such as k_proj.")
        if stray := sorted(set(self.feedforward_modules) - set(self.target_modules)):
            raise ConfigError(f"{where}.feedforward_modules names {', '.join(stray)}, which {where}.target_modules does not; name them in both.")

    def settings(self, model: Any) -> dict[str, Any]:
        return {"peft_type": "IA3", "target_modules": sorted(self.target_modules), "feedforward_modules": sorted(self.feedforward_modules)}

    def fits(self, model: Any) -> None:
        require_layers(model, self.target_modules, "target_modules")

    def why_not_share(self) -> str | None:
        return None
