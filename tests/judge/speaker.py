"""Small random models of a judge's architecture, in a folder as on the hub, that say what a test tells them to after exactly the right prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

WORDS = ["Yes", "No", "safe", "unsafe", "S1", "S6", "yes", "no"]
ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "gemma": (GemmaConfig, GemmaForCausalLM),
}
WIDTH = 64
END = "</s>"


def tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    """Bytes and a few whole words; a begin token before every text, as these judges' tokenizers put one."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token=END, pad_token="<pad>")
    made.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    made.add_tokens(WORDS)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.bos_token_id)])
    made.chat_template = template
    return made


def speaker(folder: Path, architecture: str, says: Mapping[str, Mapping[str, float]], template: str | None = None) -> Path:
    """Save a model whose next-token scores after each text are these, and zero for every other token.

    The last layer is solved for them, so another prompt, or another position in it, gets scores that mean nothing.
    """
    words = tokenizer(template)
    config_class, model_class = ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=len(words), hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        max_position_embeddings=2048, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    module = model_class(config).float().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" not in name:
                parameter.mul_(5)
        hidden, wanted = [], []
        for text, scores in says.items():
            begins = text.startswith("<s>")
            ids = words(text, add_special_tokens=not begins)["input_ids"]
            hidden.append(module.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1].double())
            wanted.append(torch.zeros(len(words), dtype=torch.double))
            for token, score in scores.items():
                [at] = words(token, add_special_tokens=False)["input_ids"]
                wanted[-1][at] = score
        assert len(hidden) <= WIDTH, "no more texts than the model is wide can be told apart exactly"
        module.lm_head.weight.copy_(torch.linalg.lstsq(torch.stack(hidden), torch.stack(wanted)).solution.T)
    module.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
