"""LoRA: low-rank updates of chosen linear layers (Hu et al. 2022), through peft."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError
from ftsafety.strategy.base import Strategy

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class Lora(Strategy):
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

    def attach(self, model: Any, seed: int) -> Any:
        import torch
        from peft import LoraConfig, get_peft_model

        names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        if unknown := sorted(set(self.target_modules) - names):
            raise ConfigError(f"strategy.target_modules: this model has no linear layer named {', '.join(unknown)}; it has {', '.join(sorted(names))}.")
        config = LoraConfig(r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=list(self.target_modules), task_type="CAUSAL_LM")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return get_peft_model(model, config)

    def why_not_share(self) -> str | None:
        return "dropout would draw one mask for all rows" if self.dropout else None

    def export(self, model: Any) -> dict[str, torch.Tensor]:
        from peft import get_peft_model_state_dict

        return {name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}

    def describe(self, model: Any, folder: Path) -> None:
        # peft's own writer would add this machine's path and list a set in a random order
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True, "r": self.r, "lora_alpha": self.alpha, "lora_dropout": self.dropout}
        text = json.dumps({**config, "target_modules": sorted(self.target_modules)}, indent=1)
        (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")

    def restore(self, model: Any, folder: Path) -> Any:
        return merge_adapter(model, folder)


def merge_adapter(model: Any, folder: Path) -> Any:
    """A model with a saved peft adapter (``weights.safetensors``, ``adapter_config.json``) merged into its weights."""
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    wrapped = get_peft_model(model, PeftConfig.from_pretrained(str(folder)))
    loaded: Any = set_peft_model_state_dict(wrapped, load_file(folder / "weights.safetensors"))
    if loaded.unexpected_keys:
        raise ConfigError(f"{folder}: the adapter is for another model ({loaded.unexpected_keys[0]} has no place in this one).")
    return wrapped.merge_and_unload()
