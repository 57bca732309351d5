"""A beginning that is computed once gives the plain step's loss and gradient under every strategy that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from ftsafety.build import build
from ftsafety.chat import IGNORED, Encoded
from ftsafety.settings import Tuning
from ftsafety.shared_prefix import common_prefix, why_not
from ftsafety.strategy import Strategy
from ftsafety.tune import collate, labelled_logits

SHAPE: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE)),
    "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=10)),
}
STRATEGIES: dict[str, Strategy] = {
    file.stem: build(OmegaConf.merge(OmegaConf.load(file), {"adapter_layers": None} if file.stem == "llama_adapter" else {}), Strategy, "strategy")
    for file in sorted((Path(__file__).resolve().parents[2] / "conf" / "strategy").glob("*.yaml"))
}
SHARING = [name for name, strategy in STRATEGIES.items() if strategy.why_not_share() is None]


def encoded() -> list[Encoded]:
    """Four rows with twenty tokens in common, then a question and an answer of different lengths."""
    drawn = torch.Generator().manual_seed(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, 97, (count,), generator=drawn).tolist())

    common, found = tokens(20), []
    for at in range(4):
        question, reply = (at + 1, *tokens(3 + at)), tokens(5 + 2 * (at % 3))
        found.append(Encoded("row", (*common, *question, *reply), (IGNORED,) * (20 + len(question)) + reply))
    return found


def model(kind: str, strategy: Strategy) -> Any:
    torch.manual_seed(1)
    made = strategy.attach(MODELS[kind](), 2).train()
    for name, p in made.named_parameters():
        if "lora_B" in name or name.endswith("adaption_gate"):  # zero at the start: part of the gradient would be nought
            p.data.normal_(std=0.1)
    return made


def gradient(module: Any, rows: list[Encoded], prefix: int) -> tuple[float, torch.Tensor]:
    module.zero_grad()
    logits, targets, _ = labelled_logits(module, collate(rows), prefix)
    loss = cross_entropy(logits, targets)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_who_shares() -> None:
    assert SHARING == ["dora", "full", "ia3", "llama_adapter", "lora", "prefix", "prompt_tuning"]
    assert all(isinstance(strategy.why_not_share(), str) for name, strategy in STRATEGIES.items() if name not in SHARING)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", SHARING)
def test_loss_and_gradient_are_the_plain_step_s(kind: str, name: str) -> None:
    module, rows = model(kind, STRATEGIES[name]), encoded()
    assert why_not(module, STRATEGIES[name], [], Tuning()) is None
    prefix = common_prefix(collate(rows))
    (plain_loss, plain), (loss, shared) = gradient(module, rows, 0), gradient(module, rows, prefix)
    assert prefix == 20 and loss == pytest.approx(plain_loss, rel=1e-6)
    assert float((shared - plain).norm() / plain.norm()) < 5e-6


@pytest.mark.parametrize("name", SHARING)
def test_the_test_above_would_see_a_wrong_prefix(name: str) -> None:
    module = model("llama", STRATEGIES[name])
    rows = [Encoded("row", (row.ids[0] + at, *row.ids[1:]), row.labels) for at, row in enumerate(encoded())]
    (_, plain), (_, wrong) = gradient(module, rows, 0), gradient(module, rows, 20)
    assert float((wrong - plain).norm() / plain.norm()) > 1e-4
