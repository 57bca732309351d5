"""What weight edits share: what a tuning saved, layer by layer, and the weights of another model beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety.settings import default_store

if TYPE_CHECKING:
    import torch

    from ftsafety.model import Model

Tensors = dict[str, "torch.Tensor"]
FACTOR = re.compile(r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?P<letter>[AB])\.weight")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: ``b @ a`` times a scale is added to the weight ``layer``; ``a`` and ``b`` are the factors' names in the saved part."""

    layer: str
    a: str
    b: str


class WeightEdit(Mitigation):
    """Base of the mitigations that edit weights after tuning, and do nothing else."""

    needs = frozenset({"weights"})

    @property
    def name(self) -> str:
        """This mitigation's name as an option, such as ``wise_ft``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def option(self) -> str:
        """Where a person types this mitigation's fields."""
        return f"mitigation.{self.name}"

    def refuse_part(self, weights: Mapping[str, Any], possible: str) -> ConfigError:
        """The error for a tuned part that this edit is not defined for; ``possible`` names the strategies that it is."""
        return ConfigError(f"{self.option} edits what {possible} saves, and this tuning saved {min(weights)}; choose {possible}.")

    def refuse_misfit(self, weights: Mapping[str, Any], places: Collection[str], other: Mapping[str, torch.Tensor]) -> None:
        """Refuse another model whose layers are not those of the start model, such as one with a resized vocabulary.

        Raises:
            ConfigError: names the first layer that differs.
        """
        for place in sorted(places):
            if place not in other or other[place].shape != weights[place].shape:
                found = f"is {list(other[place].shape)}" if place in other else "is missing"
                raise ConfigError(
                    f"{self.option} subtracts another model's weights, and there {place} {found} where the start model's is {list(weights[place].shape)}; "
                    "give a model of the same shape."
                )


def adapters(weights: Mapping[str, Any]) -> list[Adapter] | None:
    """The adapters of a saved part that consists of LoRA factors and nothing else; None for any other."""
    found = [FACTOR.fullmatch(name) for name in weights]
    if not all(found):
        return None
    layers = {match["layer"]: match.string.removesuffix(f"lora_{match['letter']}.weight") for match in found if match}
    return [Adapter(f"{layer}.weight", f"{stem}lora_A.weight", f"{stem}lora_B.weight") for layer, stem in sorted(layers.items())]


def weights_of(model: Model) -> Tensors:
    """A model's weights in float32."""
    return {name: tensor.float() for name, tensor in model.load(default_store()).module.state_dict().items()}


def refuse_weightless(model: Model | None, where: str) -> None:
    """Refuse a model that answers without weights.

    Raises:
        ConfigError: names the field.
    """
    if model is not None and not model.tunable:
        raise ConfigError(f"{where} has no weights to compare with; give a model that has, such as one with _target_: ftsafety.model.hf.Hf.")
