"""What steps of two and three passes share: a pass that leaves nothing behind, and weights that are somewhere else for a while.

A window is one optimiser step's, however it is cut into micro-batches, so that all of this is per step and never per micro-batch. Every pass
sees the random state that the step began with: dropout draws the same masks in each, and the next step the masks of plain tuning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ftsafety.mitigation.base import Inner, Window

Tensors = dict[str, "torch.Tensor"]


def rehearsed(inner: Inner, model: Any, window: Window) -> Tensors:
    """The gradients of a window by parameter name; ``.grad`` is left empty, and the random state as it was."""
    import torch

    device = next(p.device for p in model.parameters())
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        inner(model, window)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return gradients


def length(tensors: Mapping[str, torch.Tensor]) -> float:
    """The Euclidean norm of all tensors as one vector."""
    import torch

    return float(torch.nn.utils.get_total_norm(list(tensors.values())))


@contextmanager
def moved(model: Any, direction: Mapping[str, torch.Tensor], distance: float) -> Iterator[None]:
    """The model with ``distance`` times ``direction`` added to its parameters; afterwards they are what they were, bit for bit."""
    parameters = {name: p for name, p in model.named_parameters() if name in direction}
    # kept and put back, since adding and then subtracting is not exact
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    try:
        for name, p in parameters.items():
            p.data.add_(direction[name], alpha=distance)
        yield
    finally:
        for name, p in parameters.items():
            p.data.copy_(kept[name])
