"""Vaccine: each alignment step is taken where the attention blocks' outputs are disturbed in the worst direction (Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety_plugin_alignment.blocks import ATTENTION, blocks, watched
from ftsafety_plugin_alignment.passes import rehearsed

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Inner, Window

TINY = 1e-7
"""Added to the norm that is divided by, as in the code."""


@dataclass(kw_only=True)
class Vaccine(Mitigation):
    """Disturbs the outputs of all attention blocks along their gradient, ``rho`` long as one vector, and takes the gradient there."""

    source = "Huang et al. 2024 (arXiv 2402.01109); github.com/git-disl/Vaccine at 8937f68, trainer.py, VaccineTrainer"
    fidelity = "the code's two passes, one norm over layers, rows and positions of the whole step; equal dropout in both passes"
    off: ClassVar[Mapping[str, Any]] = {"rho": 0.0}
    order = 50
    stage: ClassVar[Literal["align", "tune"]] = "align"
    needs = frozenset({"gradients", "activations"})

    rho: float
    """Length of the disturbance, over all layers, rows and positions of an optimiser step; 0 is plain alignment."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        if not 0 <= self.rho < float("inf"):
            raise ConfigError(f"mitigation.vaccine.rho={self.rho:g} is not possible; give 0 or more, such as 2.")

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        if not self.rho:
            return inner(model, window)
        attention, outputs = blocks(model, ATTENTION), []

        def keep(module: Any, inputs: Any, output: Any) -> None:
            hidden = _hidden(output)
            # the first layers' may need none, where nothing before them is trained
            hidden.requires_grad_(True).retain_grad()
            outputs.append(hidden)

        with watched(attention, keep):
            rehearsed(inner, model, window)
        added = iter(disturbance([hidden.grad for hidden in outputs], self.rho))
        outputs.clear()

        def disturb(module: Any, inputs: Any, output: Any) -> Any:
            step = next(added)
            if step is None:
                return output
            hidden = _hidden(output) + step
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        # the same forward passes in the same order, so that each block meets its own
        with watched(attention, disturb):
            return inner(model, window)


def disturbance(gradients: list[torch.Tensor | None], rho: float) -> list[torch.Tensor | None]:
    """The gradients as one vector of length ``rho``, the same whatever processes share them; what nothing depends on stays None."""
    import torch
    from torch import distributed

    squares = sum((gradient.float().square().sum() for gradient in gradients if gradient is not None), torch.zeros(()))
    if distributed.is_available() and distributed.is_initialized():
        # each process's loss is multiplied by their number, which cancels: the norm is as much longer
        distributed.all_reduce(squares)
    scale = rho / (float(squares.sqrt()) + TINY)
    return [None if gradient is None else gradient * scale for gradient in gradients]


def _hidden(output: Any) -> Any:
    """An attention block's output; the weights and the cache that some give beside it are left alone."""
    return output[0] if isinstance(output, tuple) else output
