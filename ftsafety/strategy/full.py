"""Full fine-tuning: every weight moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.strategy.base import Strategy

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class Full(Strategy):
    """All parameters are trained and saved."""

    source = "Qi et al. 2024, section 4 (full-parameter Llama-2 runs)"
    fidelity = "same moving parameters; float32 optimiser states unless tuning.precision says otherwise"

    def attach(self, model: Any, seed: int) -> Any:
        return model.requires_grad_(True)

    def why_not_share(self) -> str | None:
        return None

    def export(self, model: Any) -> dict[str, torch.Tensor]:
        tied = set(getattr(model, "_tied_weights_keys", None) or {}) if model.config.tie_word_embeddings else set()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items() if name not in tied}

    def restore(self, model: Any, folder: Path) -> Any:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
        model.tie_weights()
        return model
