"""LLaMA-Adapter: gated prompts in the layers that were asked for, decoded like any model, refused where peft has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from ftsafety.decode import decode_batch
from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.strategy.llama_adapter import LlamaAdapter

TOKENS: dict[str, Any] = {"vocab_size": 97, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
SHAPE: dict[str, Any] = {
    **TOKENS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "sliding window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=12)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**TOKENS, n_embd=32, n_layer=3, n_head=4, n_positions=256)),
}


def tiny(layers: int = 3) -> Any:
    return Tiny(layers=layers).load(Path()).module


@pytest.mark.parametrize(("asked", "adapted"), [(1, [2]), (2, [1, 2]), (3, [0, 1, 2]), (None, [0, 1, 2])])
def test_prompts_sit_in_the_upper_layers(asked: int | None, adapted: list[int]) -> None:
    model = LlamaAdapter(lr=0.1, adapter_len=4, adapter_layers=asked).attach(tiny(), 0)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    prompts = [p for name, p in trainable.items() if name.endswith("adaption_prompt")]
    gates = [p for name, p in trainable.items() if name.endswith("adaption_gate")]
    assert [int(name.split("layers.")[1].split(".")[0]) for name in trainable if name.endswith("gate")] == adapted
    assert len(prompts) == len(gates) == len(adapted) == len(trainable) / 2
    assert all(p.shape == (1, 4, 32) for p in prompts) and not any(p.any() for p in gates), "gates start closed"


def test_prompts_are_drawn_from_the_seed() -> None:
    def drawn(seed: int) -> torch.Tensor:
        model = LlamaAdapter(lr=0.1, adapter_layers=3).attach(tiny(), seed)
        return torch.cat([p.detach().flatten() for name, p in model.named_parameters() if name.endswith("adaption_prompt")])

    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))
    assert float(drawn(0).std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", MODELS)
def test_a_batch_decodes_as_its_rows_do(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = MODELS[kind]().eval().requires_grad_(False)  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        if "norm" not in name and "ln_" not in name:
            parameter.mul_(8)
    prompts = [(7, 9, 11), tuple(range(30, 50)), (5,), tuple(range(30, 45))]
    closed = [row.ids for row in decode_batch(module, prompts, max_new_tokens=10, end_tokens=frozenset())]
    model = LlamaAdapter(lr=0.1, adapter_layers=2).attach(module, 0).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("adaption_gate"):
            parameter.data.fill_(3.0)
    answers = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = list(prompt)
            for _ in range(10):
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            answers.append(tuple(ids[len(prompt) :]))
    assert [row.ids for row in decode_batch(model, prompts, max_new_tokens=10, end_tokens=frozenset())] == answers != closed


def test_a_model_with_fewer_layers_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.adapter_layers=30 is not possible: this model has 3 layers; give at most 3, or null for every layer"):
        LlamaAdapter(lr=0.1).attach(tiny(), 0)


def test_other_models_are_sentences() -> None:
    qwen = Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8))
    with pytest.raises(ConfigError, match=r"strategy=llama_adapter serves gpt2, llama, mistral models, and this is a qwen3 model"):
        LlamaAdapter(lr=0.1, adapter_layers=2).attach(qwen, 0)
    wide = LlamaForCausalLM(LlamaConfig(**SHAPE, head_dim=24))
    with pytest.raises(ConfigError, match="heads together are not as wide as the model"):
        LlamaAdapter(lr=0.1, adapter_layers=2).attach(wide, 0)


@pytest.mark.parametrize(("values", "words"), [({"adapter_len": 0}, r"adapter_len=0"), ({"adapter_layers": 0}, r"adapter_layers=0.*or null for every layer")])
def test_impossible_numbers(values: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"strategy\.{words}"):
        LlamaAdapter(lr=0.1, **values).check("strategy")
