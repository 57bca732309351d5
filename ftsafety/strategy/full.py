"""Full fine-tuning: every weight moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.strategy.base import Strategy, refuse_adapted, refuse_another

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class Full(Strategy):
    """All parameters are trained and saved."""

    source = "Qi et al. 2024, section 4 (full-parameter Llama-2 runs)"
    fidelity = "same moving parameters; float32 optimiser states unless tuning.precision says otherwise"

    def attach(self, model: Any, seed: int) -> Any:
        refuse_adapted(model)
        return model.requires_grad_(True)

    def why_not_share(self) -> str | None:
        return None

    def export(self, model: Any) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu().contiguous() for name, tensor in _saved_part(model).items()}

    def restore(self, model: Any, folder: Path) -> Any:
        from safetensors.torch import load_file

        saved = load_file(folder / "weights.safetensors")
        refuse_another(folder, saved, _saved_part(model))
        model.load_state_dict(saved, strict=False)
        model.tie_weights()
        return model


def _saved_part(model: Any) -> dict[str, torch.Tensor]:
    """The model's tensors by name, a shared one once."""
    tied = set(getattr(model, "_tied_weights_keys", None) or {}) if model.config.tie_word_embeddings else set()
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
