"""The stage that looks inside: a model's hidden state at the last token of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftsafety import engines
from ftsafety.errors import FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.progress import bar
from ftsafety.row import Message
from ftsafety.stages.house import House
from ftsafety.weights import Weights

FILE = "hidden.safetensors"


def hidden(house: House, weights: Weights, prompts: Sequence[Sequence[Message]], depth: float, label: str) -> list[list[float]]:
    """Hidden states ``[prompts, width]`` at a share ``depth`` of the layers (0 embeddings, 1 the last layer), through the store.

    Each prompt is read by itself, so that no padding and no batch changes a bit.
    """
    from ftsafety.chat import render

    if not weights.model.local:
        raise FtsafetyError(f"{type(weights.model).__name__} shows nothing of its inside; choose a model whose weights are here.")
    tokenizer = house.loader.tokenizer(weights)
    ids = [render(tokenizer, prompt) for prompt in prompts]
    recipe = {"stage": "hidden", "engine": engines.DECODE, "weights": weights.digest, "prompts": digest_of(ids), "depth": depth}

    def compute(folder: Path, _: Path) -> dict[str, Any]:
        import torch
        from safetensors.torch import save_file

        module, states = house.loader.chat(weights).module, []
        device = next(module.parameters()).device
        with torch.no_grad(), bar(label, len(ids)) as advance:
            for prompt in ids:
                layers = module(input_ids=torch.tensor([prompt], device=device), output_hidden_states=True, use_cache=False).hidden_states
                states.append(layers[round(depth * (len(layers) - 1))][0, -1].float().cpu())
                advance(1)
        save_file({"hidden": torch.stack(states)}, folder / FILE)
        return {"prompts": len(ids)}

    from safetensors.numpy import load_file

    found: list[list[float]] = load_file(house.make("hidden", recipe, compute, label).folder / FILE)["hidden"].tolist()
    return found
