"""A random small Llama with a byte-level tokenizer and a chat template, made in memory: for tests and ``make smoke``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.hashing import digest_of
from ftsafety.model.base import Chat, Model

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ["<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]


@dataclass
class Tiny(Model):
    """Two layers of random weights. It answers noise, in milliseconds."""

    source = "ours"
    scope = "stand_in"

    hidden_size: int = 32
    """Width."""
    layers: int = 2
    """Depth."""
    init_seed: int = 0
    """Of the random weights."""

    def fingerprint(self, store: Path) -> str:
        return digest_of(self.recipe())

    def load_tokenizer(self, store: Path) -> Any:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
        fast.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
        fast.chat_template = TEMPLATE
        return fast

    def config(self, store: Path) -> Any:
        from transformers import LlamaConfig

        tokenizer = self.load_tokenizer(store)
        return LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=self.hidden_size, intermediate_size=2 * self.hidden_size, num_hidden_layers=self.layers,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip

    def load(self, store: Path) -> Chat:
        import torch
        from transformers import LlamaForCausalLM

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.init_seed)
            return Chat(self.load_tokenizer(store), LlamaForCausalLM(self.config(store)).float().eval())
