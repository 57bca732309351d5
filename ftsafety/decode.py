"""The one decoding engine: batched, left-padded, greedy unless a temperature is set.

A batch's common beginning (a system prompt, say) is computed once and its keys and values are shared; finished rows leave
the batch. Rows are decoded in batches that are planned from all prompts, so a run that is taken up again decodes the same
batches. What it does not know: questions, judges, files.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ftsafety.chat import common_beginning

SHARED_PREFIX_MIN = 8
"""Common tokens below which sharing the prefix costs more than it saves."""

Prompt = tuple[int, ...]
Scores = Callable[[int, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Decoded:
    """One answer: its token ids without the end token, and whether ``max_new_tokens`` cut it."""

    ids: tuple[int, ...]
    truncated: bool


def plan(prompts: Sequence[Prompt], batch: int) -> list[list[int]]:
    """Indices of the prompts in as few batches of at most ``batch`` as there can be, each about as large, of similar length, longest first.

    Two prompts left over would take as many steps as a whole batch.
    """
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    size = math.ceil(len(order) / max(1, math.ceil(len(order) / batch)))
    return [order[start : start + size] for start in range(0, len(order), max(1, size))]


@torch.inference_mode()
def decode_batch(
    module: Any,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    end_tokens: frozenset[int],
    pad_token: int = 0,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    share_prefix: bool = True,
    scores: Scores | None = None,
) -> list[Decoded]:
    """Continue every prompt of one batch.

    Args:
        module: a causal language model of transformers (peft wrapped or not), in eval mode.
        prompts: token ids, none empty, of any lengths.
        end_tokens: ids that end an answer.
        temperature: 0 is greedy; above, each row draws from its own generator, seeded by ``seed`` and its prompt, so
            that neither batch size nor order changes a row.
        scores: changes the next-token scores, ``(step, [rows, vocabulary]) -> [rows, vocabulary]``; in float32.

    Returns:
        One ``Decoded`` per prompt, in order.
    """
    device = next(module.parameters()).device
    out: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    generators = [_generator(seed, prompt) for prompt in prompts] if temperature > 0 else None
    rows = list(range(len(prompts)))
    share = share_prefix and not _outgrows_window(module, max(map(len, prompts)) + max_new_tokens)
    cache, mask, next_scores = _prefill(module, prompts, pad_token, device, share)
    for step in range(max_new_tokens):
        if scores is not None:
            next_scores = scores(step, next_scores)
        if generators is None:
            tokens = next_scores.argmax(-1)
        else:
            tokens = _sample(next_scores, temperature, top_p, [generators[row] for row in rows])
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if not ended[row]:
                if token in end_tokens:
                    ended[row] = True
                else:
                    out[row].append(token)
        alive = [at for at, row in enumerate(rows) if not ended[row]]
        if not alive or step == max_new_tokens - 1:
            break
        if len(alive) <= len(rows) * 7 // 8:
            kept = torch.tensor(alive, device=device)
            cache.batch_select_indices(kept)
            rows, tokens, mask = [rows[at] for at in alive], tokens[kept], mask[kept]
        position = mask.sum(-1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        result = module(input_ids=tokens[:, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True)
        cache, next_scores = result.past_key_values, result.logits[:, -1].float()
    return [Decoded(tuple(ids), not done) for ids, done in zip(out, ended, strict=True)]


def _prefill(module: Any, prompts: Sequence[Prompt], pad: int, device: torch.device, share: bool) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Keys and values of all prompts, their attention mask ``[rows, length]``, and the scores of the first new token."""
    from transformers import DynamicCache

    prefix = _common_prefix(prompts) if share else 0
    cache = DynamicCache()
    if prefix < SHARED_PREFIX_MIN:
        prefix = 0
    else:
        shared = torch.tensor([prompts[0][:prefix]], device=device)
        cache = module(input_ids=shared, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(len(prompts))
    width = max(map(len, prompts)) - prefix
    pads = [width - len(prompt) + prefix for prompt in prompts]
    ids = torch.tensor([[pad] * n + list(prompt[prefix:]) for n, prompt in zip(pads, prompts, strict=True)], device=device)
    mask = torch.tensor([[1] * prefix + [0] * n + [1] * (width - n) for n in pads], device=device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, prefix:]
    result = module(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return result.past_key_values, mask, result.logits[:, -1].float()


def _outgrows_window(module: Any, length: int) -> bool:
    """Whether a model attends to its last tokens only, and fewer: padding after a shared beginning would then push it out of sight."""
    window = getattr(module.config.get_text_config(), "sliding_window", None)
    return window is not None and length > window


def _common_prefix(prompts: Sequence[Prompt]) -> int:
    """How many tokens all prompts begin with; each keeps at least one of its own."""
    return min(common_beginning(prompts), min(map(len, prompts)) - 1)


def _generator(seed: int, prompt: Prompt) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{prompt}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _sample(scores: torch.Tensor, temperature: float, top_p: float, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """One draw per row from the smallest set of tokens that holds ``top_p`` of the probability."""
    probabilities, order = torch.softmax(scores.cpu() / temperature, -1).sort(-1, descending=True)
    outside = probabilities.cumsum(-1) - probabilities >= top_p
    probabilities = probabilities.masked_fill(outside, 0.0)
    drawn = torch.stack([torch.multinomial(row, 1, generator=generator) for row, generator in zip(probabilities, generators, strict=True)])
    return order.gather(-1, drawn).squeeze(-1).to(scores.device)


@torch.inference_mode()
def answer_losses(module: Any, rows: Sequence[tuple[Prompt, tuple[int, ...]]], batch: int = 16) -> Iterator[float]:
    """Mean negative log-likelihood per answer token, in nats, for each (prompt ids, answer ids)."""
    device = next(module.parameters()).device
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        width = max(len(prompt) + len(answer) for prompt, answer in part)
        ids = torch.tensor([[*prompt, *answer, *[0] * (width - len(prompt) - len(answer))] for prompt, answer in part], device=device)
        mask = torch.tensor([[1] * (len(p) + len(a)) + [0] * (width - len(p) - len(a)) for p, a in part], device=device)
        first = min(len(prompt) for prompt, _ in part) - 1
        keep = torch.arange(first, width - 1, device=device)
        logs = module(input_ids=ids, attention_mask=mask, logits_to_keep=keep).logits.float().log_softmax(-1)
        for at, (prompt, answer) in enumerate(part):
            begin = len(prompt) - 1 - first
            chosen = logs[at, begin : begin + len(answer)].gather(-1, torch.tensor(answer, device=device)[:, None])
            yield float(-chosen.mean())
