"""LLaMA-Adapter: learned prompts inside the upper attention layers, each behind a gate that starts closed (Zhang et al. 2023), through peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftsafety.errors import ConfigError
from ftsafety.strategy.peft import UNMERGED, Peft


@dataclass(kw_only=True)
class LlamaAdapter(Peft):
    """Gated prompts in the upper attention layers; the model keeps them when it is asked."""

    source = "Zhang et al. 2023 (arXiv 2303.16199); shape of the paper's code, configs/peft.py"
    fidelity = "peft's implementation; length and layers as there"
    offers = UNMERGED
    merges = False

    adapter_len: int = 10
    """Learned prompt vectors in each layer."""
    adapter_layers: int | None = 30
    """Layers that get them, counted from the top; null is every layer."""

    def check(self, where: str) -> None:
        super().check(where)
        if self.adapter_len < 1:
            raise ConfigError(f"{where}.adapter_len={self.adapter_len} is not possible; give at least 1.")
        if self.adapter_layers is not None and self.adapter_layers < 1:
            raise ConfigError(f"{where}.adapter_layers={self.adapter_layers} is not possible; give at least 1, or null for every layer.")

    def settings(self, model: Any) -> dict[str, Any]:
        layers = model.config.num_hidden_layers if self.adapter_layers is None else self.adapter_layers
        return {"peft_type": "ADAPTION_PROMPT", "adapter_len": self.adapter_len, "adapter_layers": layers}

    def fits(self, model: Any) -> None:
        from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG

        config = model.config
        if config.model_type not in TRANSFORMERS_MODEL_CONFIG:
            raise ConfigError(
                f"strategy=llama_adapter serves {', '.join(sorted(TRANSFORMERS_MODEL_CONFIG))} models, and this is a {config.model_type} model; "
                "choose another strategy."
            )
        if (self.adapter_layers or 0) > config.num_hidden_layers:
            raise ConfigError(
                f"strategy.adapter_layers={self.adapter_layers} is not possible: this model has {config.num_hidden_layers} layers; "
                f"give at most {config.num_hidden_layers}, or null for every layer."
            )
        # peft takes the ratio of heads from the layers' widths
        if (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads) * config.num_attention_heads != config.hidden_size:
            raise ConfigError("strategy=llama_adapter can't serve this model, whose heads together are not as wide as the model; choose another strategy.")

    def wrap(self, model: Any, config: Any) -> Any:
        import torch

        state = torch.get_rng_state()
        wrapped = super().wrap(model, config)
        # peft draws on the model's device, and the start must be the same on every one: draw again, here
        torch.set_rng_state(state)
        for name, parameter in wrapped.named_parameters():
            if name.endswith("adaption_prompt"):
                parameter.data.copy_(torch.empty(parameter.shape).normal_())
        return wrapped

    def why_not_share(self) -> str | None:
        return None
