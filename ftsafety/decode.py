"""The one decoding engine: batched, left-padded, greedy unless a temperature is set.

A batch's common beginning (a system prompt, say) is computed once and its keys and values are shared; finished rows leave
the batch. Rows are decoded in batches that are planned from all prompts, so a run that is taken up again decodes the same
batches. What it does not know: questions, judges, files.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ftsafety.chat import common_beginning
from ftsafety.kv_cache import gathered, repeated
from ftsafety.thin import ThinProducts

SHARED_PREFIX_MIN = 8
"""Common tokens below which sharing the prefix costs more than it saves."""
PASS_TOKENS = (768, 16384)
"""Most prompt tokens of one forward pass, on a CPU and elsewhere: enough to keep it busy, few enough that rows are of like length."""

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
    cache, mask, next_scores = _prefill(module, prompts, pad_token, device, share, max_new_tokens)
    thin = ThinProducts(module)
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
        with thin.of(len(rows)):
            result = module(input_ids=tokens[:, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True)
        cache, next_scores = result.past_key_values, result.logits[:, -1].float()
    return [Decoded(tuple(ids), not done) for ids, done in zip(out, ended, strict=True)]


def _prefill(module: Any, prompts: Sequence[Prompt], pad: int, device: torch.device, share: bool, new_tokens: int) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Keys and values of all prompts, their attention mask ``[rows, length]``, and the scores of the first new token.

    Rows of similar length are computed together, so that a short one is not padded to the longest of the batch.
    """
    from transformers import DynamicCache

    prefix, begun = _begun(module, prompts, device, share)
    most = PASS_TOKENS[0 if device.type == "cpu" else 1]
    parts, widths, scores = [], [], []
    masks: list[list[int]] = []
    for rows in _passes([len(prompt) - prefix for prompt in prompts], most):
        some = [prompts[at] for at in rows]
        width = max(map(len, some)) - prefix
        pads = [width - len(prompt) + prefix for prompt in some]
        ids = torch.tensor([[pad] * n + list(prompt[prefix:]) for n, prompt in zip(pads, some, strict=True)], device=device)
        mask = [[1] * prefix + [0] * n + [1] * (width - n) for n in pads]
        seen = torch.tensor(mask, device=device)
        positions = (seen.cumsum(-1) - 1).clamp(min=0)[:, prefix:]
        cache = DynamicCache() if begun is None else repeated(begun, len(some))
        result = module(input_ids=ids, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
        parts.append(result.past_key_values)
        widths.append(width)
        scores.append(result.logits[:, -1].float())
        masks += mask
    length = prefix + max(widths)
    whole = torch.tensor([[*row[:prefix], *[0] * (length - len(row)), *row[prefix:]] for row in masks], device=device)
    return gathered(parts, widths, new_tokens), whole, torch.cat(scores)


def _begun(module: Any, prompts: Sequence[Prompt], device: torch.device, share: bool) -> tuple[int, Any]:
    """How many tokens all prompts begin with, and their keys and values for one row; 0 and None where sharing them doesn't pay."""
    from transformers import DynamicCache

    prefix = _common_prefix(prompts) if share else 0
    if prefix < SHARED_PREFIX_MIN:
        return 0, None
    ids = torch.tensor([prompts[0][:prefix]], device=device)
    return prefix, module(input_ids=ids, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1).past_key_values


def _passes(lengths: Sequence[int], most: int) -> list[range]:
    """Neighbouring rows to compute together: as many as have ``most`` tokens when padded, one at least."""
    passes, start = [], 0
    for at in range(1, len(lengths) + 1):
        if at == len(lengths) or max(lengths[start : at + 1]) * (at + 1 - start) > most:
            passes.append(range(start, at))
            start = at
    return passes


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
def answer_losses(
    module: Any, rows: Sequence[tuple[Prompt, tuple[int, ...]]], batch: int = 16, done: Callable[[int], None] = lambda count: None
) -> list[float]:
    """Mean negative log-likelihood per answer token, in nats, for each (prompt ids, answer ids), in order.

    Args:
        batch: most rows of one forward pass; rows of similar length are computed together, and what all prompts begin with once.
        done: told how many rows each pass has finished.
    """
    if not rows:
        return []
    device = next(module.parameters()).device
    whole = [(*prompt, *answer) for prompt, answer in rows]
    share = not _outgrows_window(module, max(map(len, whole)))
    prefix, begun = _begun(module, [prompt for prompt, _ in rows], device, share)
    order = sorted(range(len(rows)), key=lambda at: -len(whole[at]))
    losses: dict[int, float] = {}
    for part in (order[start : start + batch] for start in range(0, len(order), batch)):
        width = max(len(whole[at]) for at in part)
        ids = torch.tensor([[*whole[at][prefix:], *[0] * (width - len(whole[at]))] for at in part], device=device)
        mask = torch.tensor([[1] * len(whole[at]) + [0] * (width - len(whole[at])) for at in part], device=device)
        # the token before an answer scores its first one
        first = min(len(rows[at][0]) for at in part) - 1
        keep = torch.arange(first - prefix, width - 1 - prefix, device=device)
        cached: dict[str, Any] = {"use_cache": False} if begun is None else {"past_key_values": repeated(begun, len(part)), "use_cache": True}
        logs = module(input_ids=ids, attention_mask=mask, logits_to_keep=keep, **cached).logits.float().log_softmax(-1)
        for row, at in enumerate(part):
            prompt, answer = rows[at]
            begin = len(prompt) - 1 - first
            chosen = logs[row, begin : begin + len(answer)].gather(-1, torch.tensor(answer, device=device)[:, None])
            losses[at] = float(-chosen.mean())
        done(len(part))
    return [losses[at] for at in range(len(rows))]
