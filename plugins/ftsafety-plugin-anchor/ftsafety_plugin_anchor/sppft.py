"""SPPFT: the layers that tell harmful from harmless questions stay as they are while the rest is tuned (Li et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class Sppft(Mitigation):
    """Freezes attention and MLP of a range of layers; with an adapter, its part in them, whose update then stays none."""

    source = "Li et al. 2025 (arXiv 2408.17003), SPPFT"
    fidelity = "what is frozen as in the paper; the range is given and not located, and its published numbers are unverified; with an adapter an extension"
    off: ClassVar[Mapping[str, Any]] = {"layers": []}
    control: ClassVar[Mapping[str, Any]] = {"place": "random"}
    tiny: ClassVar[Sequence[str]] = ("mitigation.sppft.layers=[0,0]",)
    needs = frozenset({"gradients"})

    layers: list[int]
    """The first and the last safety layer, both frozen, counted from 0 as in ``model.layers.0``; an empty list is plain tuning."""
    place: Literal["given", "random"]
    """``random`` freezes as many layers in a row somewhere else: the control, since to train less is to change less."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        if self.layers and not (len(self.layers) == 2 and 0 <= self.layers[0] <= self.layers[1]):
            raise ConfigError(f"mitigation.sppft.layers={self.layers} is not possible; give the first and the last layer, such as [6,12], or [] for none.")

    def attach(self, model: Any, context: Context) -> Any:
        if not self.layers:
            return model
        blocks = decoder_layers(model)
        first, last = self._range(len(blocks), context)
        # the children with a matrix are attention and MLP; the paper leaves the layer's own norms free
        held = [child for block in blocks[first : last + 1] for child in block.children() if any(p.dim() > 1 for p in child.parameters())]
        if not any(p.requires_grad for child in held for p in child.parameters()):
            raise ConfigError(
                f"mitigation.sppft freezes layers {first} to {last}, in which this strategy trains nothing; choose one that does, such as lora or full."
            )
        for child in held:
            child.requires_grad_(False)
        if not any(p.requires_grad for p in model.parameters()):
            raise ConfigError(f"mitigation.sppft.layers={self.layers} leaves nothing to train of {len(blocks)} layers; freeze fewer.")
        return model

    def _range(self, number: int, context: Context) -> tuple[int, int]:
        first, last = self.layers
        if last >= number:
            raise ConfigError(f"mitigation.sppft.layers={self.layers} is not possible; this model has layers 0 to {number - 1}.")
        if self.place == "given":
            return first, last
        length = last - first + 1
        others = [start for start in range(number - length + 1) if start != first]
        if not others:
            raise ConfigError(f"mitigation.sppft.place=random finds no other place for {length} of {number} layers; freeze fewer.")
        start = context.rng("sppft/place").choice(others)
        return start, start + length - 1


def decoder_layers(model: Any) -> Any:
    """The model's layers in order, whatever they are called, and whatever a strategy has wrapped them in.

    Raises:
        ConfigError: there is no list of as many modules as the configuration says layers.
    """
    from torch.nn import ModuleList

    number = model.config.get_text_config().num_hidden_layers
    found = next((module for module in model.modules() if isinstance(module, ModuleList) and len(module) == number), None)
    if found is None:
        raise ConfigError(f"mitigation.sppft finds no {number} layers in a row in this model ({model.config.model_type}); choose another mitigation.")
    return found
