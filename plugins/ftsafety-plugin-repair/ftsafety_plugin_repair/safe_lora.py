"""SafeLoRA: the tuned update of the layers that point least along the alignment is projected onto it (Hsu et al. 2024).

With ``V`` the aligned minus the never-aligned weight of a layer, the update ``BA`` becomes ``C BA``, ``C = V V^T / |V|``. ``C`` is no
projector: its scale is that of ``V``, so that what it mostly does to an update is to shorten it. Three controls therefore edit the very
same layers: they take the update away, shorten it as much, or multiply it by ``C`` with its directions shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety.errors import ConfigError
from ftsafety.progress import say
from ftsafety_plugin_repair.edit import Adapter, Tensors, adapters
from ftsafety_plugin_repair.never_aligned import NeverAligned

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(frozen=True)
class Edited:
    """One layer: its weight's name, the tensor to put in its place under ``part``, and what the projection does to its update."""

    layer: str
    part: str
    tensor: torch.Tensor
    cosine: float
    """Between the update and its projection; 0 to 1, since C has no negative eigenvalue."""
    kept: float
    """Length of the projection per length of the update."""


@dataclass(kw_only=True)
class SafeLora(NeverAligned):
    """The updates that point least along the alignment are projected onto it, or, as controls, removed, shortened or multiplied by a shuffled projection."""

    source = "Hsu et al. 2024 (arXiv 2405.16833); github.com/IBM/SafeLoRA at d81fda1, model.py and config.py"
    fidelity = "C, cosine and choice of layers as in the code; exactly k layers, matched by name; with strategy=full an extension of ours"
    off: ClassVar[Mapping[str, Any]] = {"num_proj_layers": 0, "threshold": None}
    control: ClassVar[Mapping[str, Any]] = {"edit": "random"}
    tiny: ClassVar[Sequence[str]] = ("mitigation.safe_lora.raw={_target_:ftsafety.model.tiny.Tiny,init_seed:1}", "mitigation.safe_lora.num_proj_layers=1")
    order = 80

    num_proj_layers: int | None = 10
    """So many layers are edited, those of the smallest cosine; all where there are fewer. 0 changes nothing."""
    threshold: float | None = None
    """Or the layers whose cosine is not above this; one of the two is set. -1 changes nothing."""
    edit: Literal["project", "zero", "shrink", "random"] = "project"
    """``project`` is SafeLoRA. Controls on the same layers: ``zero`` removes the update, ``shrink`` gives it the projection's length and keeps its
    direction, ``random`` multiplies by C with rows and columns shuffled alike and signs drawn: the same eigenvalues along other directions."""

    @property
    def idle(self) -> bool:
        return self.num_proj_layers == 0 or (self.threshold is not None and self.threshold < 0)

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        if (self.num_proj_layers is None) == (self.threshold is None):
            raise ConfigError(f"{self.option} needs one of num_proj_layers and threshold; set the other to null.")
        if self.num_proj_layers is not None and self.num_proj_layers < 0:
            raise ConfigError(f"{self.option}.num_proj_layers={self.num_proj_layers} is not possible; give 0 or more.")
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise ConfigError(f"{self.option}.threshold={self.threshold:g} is no cosine; give -1 to 1, such as 0.5.")

    def repair(self, weights: Tensors, context: Context) -> Tensors:
        if self.idle:
            return weights
        found = list(self._edited(weights, context))
        chosen = self._chosen(found)
        edited = {one.layer for one in chosen}
        context.findings[self.name] = {one.layer: {"cosine": one.cosine, "kept": one.kept, "edited": int(one.layer in edited)} for one in found}
        if chosen:
            lengths = [one.kept for one in chosen]
            say(f"{self.option}: {len(chosen)} of {len(found)} layers; the projection keeps {min(lengths):.2%} to {max(lengths):.2%} of their update's length")
        return {**weights, **{one.part: one.tensor for one in chosen}}

    def _chosen(self, found: list[Edited]) -> list[Edited]:
        if self.threshold is not None:
            return [one for one in found if one.cosine <= self.threshold]
        return sorted(found, key=lambda one: (one.cosine, one.layer))[: self.num_proj_layers]

    def _edited(self, weights: Tensors, context: Context) -> Iterator[Edited]:
        """Every layer that the tuning moved, edited; weights of the other two models are let go as their layer is done."""
        aligned = context.weights("al")
        of_layer = self._layers(weights, aligned)
        aligned = {layer: aligned[layer] for layer in of_layer}
        raw = self.never_aligned(context)
        self.refuse_misfit(aligned, of_layer, raw)
        raw = {layer: raw[layer] for layer in of_layer}
        for layer, adapter in of_layer.items():
            start = aligned.pop(layer)
            direction = start - raw.pop(layer).to(start.device)
            if not direction.any():
                raise ConfigError(
                    f"{self.option}: {layer} is the same in the start model and in its never-aligned version, so there is nothing to project onto; tune layers "
                    f"that the alignment moved, or give the right pre-trained model with {self.option}.raw."
                )
            part = adapter.b if adapter else layer
            update = weights[part].to(start.device) if adapter else weights[part].to(start.device) - start
            if update.any():
                factor = weights[adapter.a].to(start.device) if adapter else None
                edited, cosine, kept = self._one(layer, update, direction, factor, context)
                yield Edited(layer, part, (edited if adapter else start + edited).to(weights[part].device), cosine, kept)

    def _layers(self, weights: Tensors, aligned: Tensors) -> dict[str, Adapter | None]:
        """The layers to look at: those with an adapter, or of whole weights the matrices in the numbered blocks."""
        if (lora := adapters(weights)) is not None:
            return {adapter.layer: adapter for adapter in lora}
        if not weights.keys() <= aligned.keys():
            raise self.refuse_part(weights, "strategy=lora or strategy=full")
        return {name: None for name, tensor in sorted(weights.items()) if tensor.ndim == 2 and any(part.isdigit() for part in name.split("."))}

    def _one(
        self, layer: str, update: torch.Tensor, direction: torch.Tensor, factor: torch.Tensor | None, context: Context
    ) -> tuple[torch.Tensor, float, float]:
        """The edited update, its cosine with its projection, and the share of its length that the projection keeps."""
        projected = project(update, direction)
        length, new_length = inner(update, update, factor) ** 0.5, inner(projected, projected, factor) ** 0.5
        cosine = inner(projected, update, factor) / (length * new_length) if new_length else 0.0
        kept = new_length / length
        if self.edit == "zero":
            projected = update * 0
        elif self.edit == "shrink":
            projected = update * kept
        elif self.edit == "random":
            projected = project(update, shuffled(direction, context.number(f"{self.name}/random/{layer}")))
        return projected, cosine, kept


def project(update: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """``C update`` with ``C = V V^T / |V|``, without C itself, which is [out, out]; both arguments have ``out`` rows."""
    projected: torch.Tensor = direction @ (direction.T @ update) / direction.norm()
    return projected


def inner(x: torch.Tensor, y: torch.Tensor, factor: torch.Tensor | None) -> float:
    """The inner product of ``x`` and ``y`` [out, in]; or of ``x a`` and ``y a``, for x and y [out, rank] and the other factor ``a`` [rank, in]."""
    if factor is None:
        return float((x.double() * y.double()).sum())
    wide = factor.double()
    return float(((x.double().T @ y.double()) * (wide @ wide.T)).sum())


def shuffled(direction: torch.Tensor, seed: int) -> torch.Tensor:
    """``V`` with its rows permuted and their signs drawn, which is a rotation: singular values stay, what they point along does not."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(direction), generator=generator)
    signs = torch.randint(0, 2, (len(direction), 1), generator=generator) * 2.0 - 1
    return direction[order.to(direction.device)] * signs.to(direction.device)
