"""Prefix tuning and prompt tuning: virtual tokens first, then everything as usual, on models of several families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ftsafety.decode import SHARED_PREFIX_MIN, answer_losses, decode_batch
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.strategy.prefix import Prefix
from ftsafety.strategy.prompt_tuning import PromptTuning
from ftsafety.strategy.virtual_tokens import VirtualTokens

TOKENS: dict[str, Any] = {"vocab_size": 97, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
SHAPE: dict[str, Any] = {
    **TOKENS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "wide heads": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=24)),
    "sliding window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=12)),
    "some layers sliding": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SHAPE, head_dim=8, sliding_window=12, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**TOKENS, n_embd=32, n_layer=3, n_head=4, n_positions=256)),
}
STRATEGIES: dict[str, VirtualTokens] = {"prefix": Prefix(lr=0.1, num_virtual_tokens=5), "prompt_tuning": PromptTuning(lr=0.1, num_virtual_tokens=5)}
SYSTEM = tuple(range(60, 60 + 2 * SHARED_PREFIX_MIN))
LOOSE = [(7, 9, 11), tuple(range(30, 50)), (5,)]
PROMPTS = {"loose": LOOSE, "tied": [(*SYSTEM, *prompt) for prompt in LOOSE]}


def plain(kind: str) -> Any:
    """A model with weights large enough that every token matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = MODELS[kind]().eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if "norm" not in name and "ln_" not in name:
            parameter.mul_(8)
    return module


def attached(kind: str, name: str, seed: int = 0) -> Any:
    """It with virtual tokens as they are at the start."""
    return STRATEGIES[name].attach(plain(kind), seed).eval()


def peft_s_own(model: Any, ids: list[int]) -> torch.Tensor:
    """Scores of the real tokens by peft's own forward pass."""
    scores = torch.as_tensor(type(model).forward(model, input_ids=torch.tensor([ids])).logits[0])
    return scores[-len(ids) :]


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_batch_decodes_as_peft_s_own_forward_pass_does(name: str, kind: str, prompts: list[tuple[int, ...]]) -> None:
    model, answers = attached(kind, name), []
    with torch.inference_mode():
        for prompt in prompts:
            ids = list(prompt)
            for _ in range(10):
                ids.append(int(peft_s_own(model, ids)[-1].argmax()))
            answers.append(tuple(ids[len(prompt) :]))
    assert len(set(answers)) > 1
    # padding would push virtual tokens out of a sliding window
    batches = [[prompt] for prompt in prompts] if "sliding" in kind else [prompts]
    for share in (True, False):
        decoded = [decode_batch(model, batch, max_new_tokens=10, end_tokens=frozenset(), share_prefix=share) for batch in batches]
        assert [row.ids for rows in decoded for row in rows] == answers


@pytest.mark.parametrize("name", STRATEGIES)
def test_padding_inside_a_sliding_window_is_a_sentence(name: str) -> None:
    model = attached("sliding window", name)
    short = [(7, 9), (5,)]
    assert len(decode_batch(model, short, max_new_tokens=4, end_tokens=frozenset())) == 2
    with pytest.raises(FtsafetyError, match=r"can't be decoded together where they outgrow this model's sliding window of 12 tokens; type decoding\.batch=1"):
        decode_batch(model, short, max_new_tokens=9, end_tokens=frozenset())


@torch.inference_mode()
@pytest.mark.parametrize("keep", [0, 3, torch.tensor([1, 4])], ids=["all", "the last three", "two of them"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_positions_to_keep_are_those_of_the_real_tokens(name: str, keep: Any) -> None:
    model, ids = attached("llama", name), [5, 9, 2, 7, 1, 8, 3]
    whole = peft_s_own(model, ids)
    kept = model(input_ids=torch.tensor([ids]), logits_to_keep=keep).logits[0]
    torch.testing.assert_close(kept, whole[keep] if isinstance(keep, torch.Tensor) else whole[-keep:])


@pytest.mark.parametrize("name", STRATEGIES)
def test_losses_of_given_answers_are_peft_s(name: str) -> None:
    model = attached("llama", name)
    rows = [(prompt, (4, 8, 15)) for prompt in LOOSE]

    def plainly(prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
        with torch.inference_mode():
            logs = peft_s_own(model, [*prompt, *answer]).log_softmax(-1)
        return -sum(float(logs[len(prompt) + at - 1, token]) for at, token in enumerate(answer)) / len(answer)

    assert list(answer_losses(model, rows, 2)) == pytest.approx([plainly(*row) for row in rows], rel=1e-4)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_virtual_tokens_matter(name: str) -> None:
    model = attached("llama", name)
    with torch.inference_mode():
        with_them = model(input_ids=torch.tensor([[5, 9, 2]])).logits
        without = model.get_base_model()(input_ids=torch.tensor([[5, 9, 2]])).logits
    assert float((with_them - without).abs().max()) > 1e-2


@pytest.mark.parametrize("name", STRATEGIES)
def test_another_seed_is_another_start(name: str) -> None:
    first, again, other = (STRATEGIES[name].export(attached("llama", name, seed))["prompt_embeddings"] for seed in (0, 0, 1))
    assert first.shape[0] == 5 and torch.equal(first, again) and not torch.equal(first, other)


def test_a_prompt_starts_as_words_of_the_model() -> None:
    words = {tuple(row) for row in plain("llama").get_input_embeddings().weight.tolist()}
    [embedded] = STRATEGIES["prompt_tuning"].export(attached("llama", "prompt_tuning")).values()
    assert {tuple(row) for row in embedded.tolist()} <= words


@pytest.mark.parametrize("name", STRATEGIES)
def test_impossible_values_and_models_are_sentences(name: str) -> None:
    with pytest.raises(ConfigError, match=r"strategy\.num_virtual_tokens=0 is not possible; give at least 1"):
        type(STRATEGIES[name])(lr=0.1, num_virtual_tokens=0).check("strategy")
    state_space = MambaForCausalLM(MambaConfig(**TOKENS, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(ConfigError, match=rf"{type(STRATEGIES[name]).__name__} can't serve this model \(mamba\): "):
        STRATEGIES[name].attach(state_space, 0)


def test_what_mitigations_may_ask_for() -> None:
    assert Prefix.offers == {"gradients", "activations", "logits"}
    assert PromptTuning.offers == {"gradients", "logits"}, "hidden states are longer than the rows"
