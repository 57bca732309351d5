"""Full fine-tuning: everything is saved, a shared matrix once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from ftsafety.strategy.full import Full


def module(tied: bool) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, tie_word_embeddings=tied)
        )


@pytest.mark.parametrize("tied", [True, False])
def test_a_shared_matrix_is_saved_once_and_stays_shared(tmp_path: Path, tied: bool) -> None:
    strategy = Full(lr=1e-3)
    model = strategy.attach(module(tied), 0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5)
    exported = strategy.export(model)
    assert set(exported) == {name for name in model.state_dict() if not (tied and name == "lm_head.weight")}
    save_file(exported, tmp_path / "weights.safetensors")
    restored = strategy.restore(module(tied), tmp_path)
    assert all(torch.equal(tensor, restored.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert (restored.lm_head.weight is restored.model.embed_tokens.weight) is tied


def test_a_frozen_start_is_thawed() -> None:
    model = Full(lr=1e-3).attach(module(False).requires_grad_(False), 0)
    assert all(p.requires_grad for p in model.parameters())
