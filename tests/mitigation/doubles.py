"""Four published shapes of mitigation, small, on the real contract: rows (mixing), batches (Lisa), activations (Vaccine), weights (SafeLoRA).

They show what the contract carries; they are not the methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ftsafety.context import Context
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.base import Inner, Window
from ftsafety.row import Row
from ftsafety.tune import collate

Tensors = dict[str, torch.Tensor]


@dataclass
class Mixing(Mitigation):
    """Adds ``count`` safe rows."""

    order = 10
    count: int

    def examples(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        return [*rows, *context.rng("mixing/draw").sample(list(context.rows_by_role("safety")), self.count)]


@dataclass
class Lisa(Mitigation):
    """``align_steps`` on safe rows and ``user_steps`` on the user's in turn, held near the last state of the other kind by ``rho``."""

    order = 30
    align_steps: int
    user_steps: int
    rho: float

    turn: str = field(init=False, default="align")
    clock: int = field(init=False, default=0)
    anchors: dict[str, Tensors] = field(init=False, default_factory=dict)

    def streams(self, context: Context) -> dict[str, Sequence[Row]]:
        return {"lisa": context.rows_by_role("safety")[:12]}

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        if not self.align_steps:
            return inner(model, window)
        moving = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if context.step == 0:
            self.turn, self.clock = "align", 0
            self.anchors = {turn: _copied(moving) for turn in ("align", "user")}
        if self.clock == (self.align_steps if self.turn == "align" else self.user_steps):
            self.anchors[self.turn] = _copied(moving)
            self.turn, self.clock = self._other, 0
        if self.turn == "align":
            window = [collate(context.draw("lisa", len(micro["input_ids"]))) for micro in window]
        loss = inner(model, window)
        self.clock += 1
        # the gradient of the proximal term, once per optimiser step
        for name, p in moving.items():
            p.grad.add_(self.rho * (p.detach() - self.anchors[self._other][name]))
        return loss

    @property
    def _other(self) -> str:
        return "user" if self.turn == "align" else "align"

    def state(self) -> dict[str, Any]:
        return {"turn": self.turn, "clock": self.clock, "anchors": self.anchors}

    def load(self, state: dict[str, Any]) -> None:
        self.turn, self.clock, self.anchors = state["turn"], state["clock"], state["anchors"]


@dataclass
class Vaccine(Mitigation):
    """Steps against the worst perturbation of the attention's outputs, of norm ``rho`` over the whole window."""

    order = 50
    needs = frozenset({"activations"})
    rho: float

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        if not self.rho:
            return inner(model, window)
        seen: list[torch.Tensor] = []

        def keep(module: Any, inputs: Any, outputs: Any) -> None:
            outputs[0].requires_grad_(True).retain_grad()
            seen.append(outputs[0])

        random = torch.get_rng_state()
        with _hooked(model, keep):
            inner(model, window)
        gradients = [output.grad for output in seen if output.grad is not None]
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        perturbations = iter([self.rho * gradient / (norm + 1e-7) for gradient in gradients])
        model.zero_grad(set_to_none=True)
        torch.set_rng_state(random)
        with _hooked(model, lambda module, inputs, outputs: (outputs[0] + next(perturbations), *outputs[1:])):
            return inner(model, window)


@dataclass
class SafeLora(Mitigation):
    """Projects the ``layers`` adapters that point least along the alignment onto it."""

    order = 80
    needs = frozenset({"weights", "pre"})
    layers: int

    def repair(self, weights: Tensors, context: Context) -> Tensors:
        if not self.layers:
            return weights
        before, aligned = context.weights("pre"), context.weights("al")
        projected, cosine = {}, {}
        for name in (name for name in weights if "lora_B" in name):
            place = name.removeprefix("base_model.model.").partition(".lora_B")[0] + ".weight"
            b, a, v = weights[name], weights[name.replace("lora_B", "lora_A")], aligned[place] - before[place]
            projected[name] = v @ (v.T @ b) / v.norm()
            cosine[name] = float(torch.cosine_similarity((projected[name] @ a).flatten(), (b @ a).flatten(), dim=0))
        chosen = sorted(projected, key=lambda name: cosine[name])[: self.layers]
        return {name: projected[name] if name in chosen else tensor for name, tensor in weights.items()}


def _copied(parameters: dict[str, Any]) -> Tensors:
    return {name: p.detach().clone() for name, p in parameters.items()}


@contextmanager
def _hooked(model: Any, hook: Any) -> Iterator[None]:
    """A forward hook on every attention block."""
    handles = [module.register_forward_hook(hook) for module in model.modules() if hasattr(module, "o_proj")]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
