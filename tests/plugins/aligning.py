"""What tests of the alignment's distribution share: rows that are declined, a window of unequal rows, and the plain step written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ftsafety.chat import IGNORED
from ftsafety.context import Context
from ftsafety.mitigation import Mitigation
from ftsafety.tune import micro_batches
from tests.mitigation.bench import ROWS, Bench
from tests.plugins.distribution import Distribution, encoded

ALIGNMENT = Distribution("alignment")
made = ALIGNMENT.mitigation
REFUSED = [replace(row, role="refused") for row in ROWS]
Tensors = dict[str, torch.Tensor]


def window_of(bench: Bench, size: int) -> Any:
    """Four rows of unequal length, cut into micro-batches."""
    return micro_batches(encoded(bench), size)


def plain(model: Any, window: Any, mitigation: Mitigation | None = None, context: Context | None = None) -> float:
    """The window's token mean in the model's own precision, and its gradient."""
    tokens = sum(int((micro["labels"][:, 1:] != IGNORED).sum()) for micro in window)
    total = 0.0
    for micro in window:
        logits = model(input_ids=micro["input_ids"], attention_mask=micro["attention_mask"]).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), micro["labels"][:, 1:].flatten(), reduction="sum") / tokens
        if mitigation and context:
            loss = loss + mitigation.loss(model, micro, None, context) / len(window)
        loss.backward()
        total += float(loss.detach())
    return total


def gradients(model: Any) -> Tensors:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def opened(mitigation: Mitigation, bench: Bench, seed: int = 0) -> Context:
    """A context in which a mitigation's streams can be drawn from."""
    from ftsafety.chat import encode

    context = Context(seed, total_steps=8)
    tokenizer = bench.house.loader.tokenizer(bench.start)
    for name, rows in mitigation.streams(context).items():
        context.open_stream(name, [encode(tokenizer, row, 1024) for row in rows])
    return context


def step(mitigation: Mitigation, model: Any, window: Any, context: Context, inner: Callable[..., float] | None = None) -> tuple[float, Tensors]:
    """One step's loss and gradient under a mitigation."""
    model.zero_grad(set_to_none=True)

    def within(model: Any, window: Any) -> float:
        return plain(model, window, mitigation, context)

    return mitigation.gradient(inner or within, model, window, context), gradients(model)


def hooks(model: Any) -> int:
    """How many hooks the model carries."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks) for module in model.modules())


def kept(model: Any) -> Tensors:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def largest(tensors: Sequence[torch.Tensor]) -> float:
    return max(float(tensor.abs().max()) for tensor in tensors)
