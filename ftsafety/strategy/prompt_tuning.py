"""Prompt tuning: learned embeddings before every text (Lester et al. 2021), through peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftsafety.strategy.virtual_tokens import VirtualTokens


@dataclass(kw_only=True)
class PromptTuning(VirtualTokens):
    """Learned embeddings before every text; they start as random words, so that the start already differs from the model."""

    source = "Lester et al. 2021 (arXiv 2104.08691), section 3.2"
    fidelity = "peft's implementation; words drawn from the whole vocabulary, AdamW instead of Adafactor"
    # hidden states are longer than the rows
    offers = frozenset({"gradients", "logits"})

    num_virtual_tokens: int = 20
    """Learned tokens."""

    def settings(self, model: Any) -> dict[str, Any]:
        return {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": self.num_virtual_tokens, "prompt_tuning_init": "SAMPLE_VOCAB"}

    def begin(self, model: Any, call: dict[str, Any]) -> dict[str, Any]:
        import torch

        ids, positions, keep = call["input_ids"], call["position_ids"], call.get("logits_to_keep", 0)
        count, length = self.num_virtual_tokens, ids.shape[1]
        embedded = model.get_input_embeddings()(ids)
        prompt = model.get_prompt(len(ids)).to(embedded.dtype)
        if positions is not None:
            positions = torch.cat([torch.arange(count, device=ids.device).expand(len(ids), -1), positions], 1)
        if isinstance(keep, torch.Tensor):
            keep = keep + count
        elif keep == 0:
            keep = torch.arange(count, count + length, device=ids.device)
        begun = {"inputs_embeds": torch.cat([prompt, embedded], 1), "position_ids": positions, "logits_to_keep": keep}
        return {**{name: value for name, value in call.items() if name != "input_ids"}, **begun}

    def why_not_share(self) -> str | None:
        return None
