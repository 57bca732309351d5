"""L2 to the start weights: a spring from every weight back to where it started (L2-SP, Li et al. 2018).

With LoRA the spring holds the update ``s BA`` and not its factors: only the update changes what the model says. Its squared norm
is ``s^2 sum((A A^T) * (B^T B))``, products of two small matrices, so that the update is never formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError
from ftsafety_plugin_anchor.anchor import Anchor

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.mitigation.base import Inner, Window


@dataclass(kw_only=True)
class L2(Anchor):
    """Adds half the squared distance from the start weights to the loss; with LoRA, that of the update."""

    source = "L2-SP: Li et al. 2018 (arXiv 1802.01483)"
    fidelity = "weight / 2 times the squared distance over all weights that move; with LoRA an extension of ours; the paper's grid of weights is unverified"
    # innermost: once on the gradient that is computed
    order = 55
    needs = frozenset({"gradients", "weights"})

    _start: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The weights that move, as they start, by name; empty with LoRA, whose update starts at zero."""

    def begin(self, model: Any, context: Context) -> None:
        self._start = {}
        if not self.weight or is_lora(model):
            return
        if hasattr(model, "active_peft_config"):
            raise ConfigError(f"{self.option} is defined for strategy=full and for LoRA (lora, qlora); choose one of them, or mitigation=[kl].")
        self._start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        loss = inner(model, window)
        if not self.weight:
            return loss
        terms = self._of_updates(model) if is_lora(model) else self._of_weights(model)
        return loss + self.weight / 2 * sum(terms)

    def finish(self, model: Any, context: Context) -> None:
        self._start = {}

    def _of_weights(self, model: Any) -> Iterator[float]:
        """Squared distances, one per weight; adds their gradient."""
        for name, p in model.named_parameters():
            if p.grad is not None:
                self._start[name] = self._start[name].to(p)
                gap = p.detach() - self._start[name]
                p.grad.add_(gap, alpha=self.weight)
                yield float(gap.float().square().sum())

    def _of_updates(self, model: Any) -> Iterator[float]:
        """Squared norms, one per adapter; adds their gradient."""
        for adapter in adapters(model):
            a, b, scale = adapter.a, adapter.b, adapter.scale
            rows, columns = a.detach() @ a.detach().T, b.detach().T @ b.detach()
            for factor, gap in ((a, columns @ a.detach()), (b, b.detach() @ rows)):
                if factor.grad is not None:
                    factor.grad.add_(gap, alpha=self.weight * scale**2)
            yield scale**2 * float((rows.float() * columns.float()).sum())


def is_lora(model: Any) -> bool:
    """Whether a model carries plain LoRA adapters, whose update starts at zero."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and config.peft_type.value == "LORA" and not config.use_dora


@dataclass(frozen=True)
class Adapter:
    """A layer's LoRA adapter: the layer's own weight ``[out, in]``, the factors A ``[rank, in]`` and B ``[out, rank]``, and the scale of their product."""

    layer: str
    own: torch.nn.Parameter
    a: torch.nn.Parameter
    b: torch.nn.Parameter
    scale: float


def adapters(model: Any) -> Iterator[Adapter]:
    """The adapter of each adapted layer."""
    for layer, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "scaling"):
            for name in module.active_adapters:
                yield Adapter(layer, module.base_layer.weight, module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name]))
