"""Elastic weight consolidation: a spring from every weight back to where it started, as stiff as refusals depend on that weight.

The stiffness is the diagonal of the empirical Fisher information of the shipped refusals, ``sum_rows (d log p(answer) / d weight)^2``, per
answer token. Half of it times the squared distance is about what the refusals' own loss rises by, to second order and one weight at a time,
so that a ``weight`` of 1 counts forgetting them as much as learning the user's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError
from ftsafety_plugin_anchor.l2 import L2, adapters, is_lora

if TYPE_CHECKING:
    import torch

    from ftsafety.chat import Encoded
    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Inner, Window
    from ftsafety.row import Row

STREAM = "ewc"
"""The name under which refusals are given."""


@dataclass(kw_only=True)
class Ewc(L2):
    """Adds half the squared distance from the start weights to the loss, each weighed by its Fisher information on refusals."""

    source = "Kirkpatrick et al. 2017 (arXiv 1612.00796), equation 3; as a baseline: github.com/git-disl/Vaccine at 8937f68, trainer.py, FITrainer"
    fidelity = "the paper's penalty, with the empirical Fisher row by row; the baseline's is of batches and its weight fits that; with LoRA an extension"
    needs = L2.needs | {"safe_rows"}

    rows: int
    """So many of the shipped refusals, in the plain template, make the Fisher information."""

    _fisher: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The information of each weight that moves, by name; with LoRA of the adapted layers' own weights."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        if self.rows < 1:
            raise ConfigError(f"{self.option}.rows={self.rows} is not possible; give at least 1.")

    def streams(self, context: Context) -> dict[str, Sequence[Row]]:
        if not self.weight:
            return {}
        pool = list(context.rows_by_role("safety"))
        if self.rows > len(pool):
            raise ConfigError(f"{self.option}.rows={self.rows} is not possible; there are {len(pool)} refusals.")
        return {STREAM: context.rng("ewc/rows").sample(pool, self.rows)}

    def begin(self, model: Any, context: Context) -> None:
        self._fisher = {}
        if self.weight and any(not adapter.own.is_floating_point() for adapter in adapters(model)):
            raise ConfigError(f"{self.option} needs the gradient of the layers' own weights, and these are quantised; choose strategy=lora or mitigation=[l2].")
        super().begin(model, context)

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        # here and not before, since the trainer has put the model on its device now
        if self.weight and not self._fisher:
            self._fisher = fisher(model, context.streams()[STREAM])
        return super().gradient(inner, model, window, context)

    def finish(self, model: Any, context: Context) -> None:
        super().finish(model, context)
        self._fisher = {}

    def state(self) -> dict[str, Any]:
        return {"fisher": self._fisher}

    def load(self, state: dict[str, Any]) -> None:
        self._fisher = state["fisher"]

    def _of_weights(self, model: Any) -> Iterator[float]:
        for name, p in model.named_parameters():
            if p.grad is not None:
                self._start[name] = self._start[name].to(p)
                gap = (p.detach() - self._start[name]).float()
                pull = self._of(name, p) * gap
                p.grad.add_(pull.to(p.dtype), alpha=self.weight)
                yield float((gap * pull).sum())

    def _of_updates(self, model: Any) -> Iterator[float]:
        for adapter in adapters(model):
            a, b = adapter.a.detach().float(), adapter.b.detach().float()
            update = adapter.scale * b @ a
            pull = self._of(adapter.layer, adapter.own) * update
            for factor, gradient in ((adapter.a, b.T @ pull), (adapter.b, pull @ a.T)):
                if factor.grad is not None:
                    factor.grad.add_(gradient.to(factor.dtype), alpha=self.weight * adapter.scale)
            yield float((update * pull).sum())

    def _of(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        information: torch.Tensor = self._fisher[name].to(weight.device)
        self._fisher[name] = information
        return information


def fisher(model: Any, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """The diagonal of the empirical Fisher information of each weight that moves, per answer token, float32.

    With LoRA that of the adapted layers' own weights, by the layers' names: an adapter's update moves them, and its factors have no
    information at the start, where one of them is zero.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from ftsafety.tune import collate, labelled_logits

    if is_lora(model):
        weights = {adapter.layer: adapter.own for adapter in adapters(model)}
    else:
        weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    tokens = 0
    with _differentiable(model, list(weights.values())):
        for row in rows:
            micro = {name: tensor.to(model.device) for name, tensor in collate([row]).items()}
            logits, targets, _ = labelled_logits(model, micro)
            # not through .grad: every process has all rows, and nothing is to be summed over processes
            gradients = torch.autograd.grad(cross_entropy(logits, targets, reduction="sum"), list(weights.values()), materialize_grads=True)
            for name, gradient in zip(weights, gradients, strict=True):
                total[name] += gradient.float().square()
            tokens += len(targets)
    return {name: information / tokens for name, information in total.items()}


@contextmanager
def _differentiable(model: Any, weights: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """The model without dropout, and gradients of these weights whether they are trained or not; then all as it was."""
    training, trained = model.training, [weight.requires_grad for weight in weights]
    model.eval()
    try:
        for weight in weights:
            weight.requires_grad_(True)
        yield
    finally:
        for weight, was in zip(weights, trained, strict=True):
            weight.requires_grad_(was)
        model.train(training)
