"""LoRA: low-rank updates of chosen linear layers (Hu et al. 2022), through peft."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftsafety.errors import ConfigError
from ftsafety.strategy.peft import Peft, config_in, drawing_from, filled, require_layers


@dataclass(kw_only=True)
class Lora(Peft):
    """LoRA adapters; merged into the weights before the model is asked."""

    source = "Hu et al. 2022 (arXiv 2106.09685); shape of the paper's code, configs/peft.py"
    fidelity = "rank, alpha and modules as there; dropout 0 so that runs are exact"

    r: int = 8
    """Rank."""
    alpha: int = 32
    """Scale; the update is multiplied by alpha / r."""
    dropout: float = 0.0
    """Dropout on the adapter's input (the paper's code: 0.05)."""
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Names of the linear layers that get an adapter."""

    def check(self, where: str) -> None:
        super().check(where)
        if self.r < 1 or self.alpha <= 0:
            raise ConfigError(f"{where}: r={self.r} and alpha={self.alpha} are not possible; give a rank of at least 1 and an alpha above 0.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"{where}.dropout={self.dropout:g} is not possible; give at least 0 and less than 1.")
        if not self.target_modules:
            raise ConfigError(f"{where}.target_modules is empty, so nothing would be trained; name at least one linear layer, such as q_proj.")

    def settings(self, model: Any) -> dict[str, Any]:
        shape = {"r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout}
        return {"peft_type": "LORA", **shape, "target_modules": sorted(self.target_modules)}

    def fits(self, model: Any) -> None:
        require_layers(model, self.target_modules, "target_modules")

    def why_not_share(self) -> str | None:
        return "dropout would draw one mask for all rows" if self.dropout else None


def merge_adapter(model: Any, folder: Path) -> Any:
    """A model with a saved peft adapter (``weights.safetensors``, ``adapter_config.json``) merged into its weights."""
    from peft import get_peft_model

    with drawing_from(0):
        return filled(get_peft_model(model, config_in(folder)), folder).merge_and_unload()
