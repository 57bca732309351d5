"""Weights divided among the processes of one tuning, layer by layer (torch's ``fully_shard``), and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from ftsafety.errors import ConfigError
from ftsafety.mitigation import overrides

if TYPE_CHECKING:
    from ftsafety.mitigation import Mitigation


def refuse_unsharded(model: Any, mitigations: Sequence[Mitigation]) -> None:
    """Refuse what needs whole weights or whole gradients in one place.

    Raises:
        ConfigError: names it, and what to choose instead.
    """
    if whole := [type(mitigation).__name__ for mitigation in mitigations if overrides(mitigation, "gradient")]:
        raise ConfigError(f"trainer=fsdp gives each process a part of every gradient, and {', '.join(whole)} needs whole ones; type trainer=ddp.")
    if odd := next((name for name, p in model.named_parameters() if not p.is_floating_point()), None):
        raise ConfigError(f"trainer=fsdp divides floating-point weights, and {odd} is quantised; type trainer=ddp, or choose another strategy.")


def shard(model: Any, mesh: Any) -> None:
    """Divide every decoder layer's weights among the processes, and what is left of the model."""
    named = next((module._no_split_modules for module in model.modules() if getattr(module, "_no_split_modules", None)), ())
    for module in [module for module in model.modules() if type(module).__name__ in named]:
        fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def gather(model: Any) -> None:
    """Give every process all weights whole; all of them must take part. The model can be saved afterwards, and no longer be run."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            if isinstance(p, DTensor):
                # a shared matrix stays shared
                if id(p) not in made:
                    made[id(p)] = torch.nn.Parameter(p.full_tensor().detach(), requires_grad=p.requires_grad)
                setattr(module, name, made[id(p)])
