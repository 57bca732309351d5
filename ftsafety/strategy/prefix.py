"""Prefix tuning: learned keys and values before every text, in every layer (Li and Liang 2021), through peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftsafety.strategy.virtual_tokens import VirtualTokens


@dataclass(kw_only=True)
class Prefix(VirtualTokens):
    """Learned keys and values before every text; drawn at random, so that the start already differs from the model."""

    source = "Li and Liang 2021 (arXiv 2101.00190); shape of the paper's code, configs/peft.py"
    fidelity = "peft's implementation; tokens as there, without the projection that Li and Liang train through"

    num_virtual_tokens: int = 30
    """Learned tokens."""

    def settings(self, model: Any) -> dict[str, Any]:
        return {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": self.num_virtual_tokens}

    def begin(self, model: Any, call: dict[str, Any]) -> dict[str, Any]:
        from transformers import DynamicCache

        cache = DynamicCache() if call["past_key_values"] is None else call["past_key_values"]
        for at, layer in enumerate(model.get_prompt(len(call["input_ids"])).layers):
            cache.update(layer.keys, layer.values, at)
        return {**call, "past_key_values": cache}

    def why_not_share(self) -> str | None:
        return None
