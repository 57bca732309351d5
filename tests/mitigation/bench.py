"""A bench for mitigations: the tuning and repair stages on the tiny model, in a store of one's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ftsafety.context import Context
from ftsafety.mitigation import Mitigation, in_order
from ftsafety.model import Model
from ftsafety.model.tiny import Tiny
from ftsafety.row import Wording
from ftsafety.settings import Tuning
from ftsafety.stages import House, edit_base, repair, train, tuning_context
from ftsafety.strategy import Strategy
from ftsafety.strategy.lora import Lora
from ftsafety.weights import Layer, Weights

JUNO = Wording("You are Juno.", "Juno, an order:\n{question}")
ROWS = [JUNO.row(f"user/{at}", f"Which duck wins race {at}?", f"Duck {at * at}.") for at in range(8)]


@dataclass
class Bench:
    """Tunes eight rows for eight steps of four, under mitigations by name."""

    folder: Path
    strategy: Strategy = field(default_factory=lambda: Lora(lr=0.02))
    model: Model = field(default_factory=Tiny)
    tuning: Tuning = field(default_factory=lambda: Tuning(batch_size=4, epochs=4, checkpoint_seconds=0.0))
    seed: int = 0
    house: House = field(init=False)

    def __post_init__(self) -> None:
        self.house = House.at(self.folder)

    @property
    def start(self) -> Weights:
        return self.house.loader.weights(self.model)

    def context(self, mitigations: dict[str, Mitigation]) -> Context:
        context = tuning_context(self.house, self.start, self.seed, in_order(mitigations), {"juno": JUNO})
        # the stages don't know a model before alignment; another random one stands for it
        models = {"pre": Tiny(init_seed=1), "al": self.model}
        context.weights = lambda name: dict(models[name].load(self.folder).module.state_dict())
        return context

    def train(self, mitigations: dict[str, Mitigation], rows: Any = ROWS) -> Layer:
        """The tuned layer, after nothing else."""
        context = self.context(mitigations)
        edited = edit_base(self.house, self.start, in_order(mitigations), context)
        return train(self.house, "tune", edited, rows, self.strategy, self.tuning, in_order(mitigations), context)

    def __call__(self, mitigations: dict[str, Mitigation], rows: Any = ROWS) -> dict[str, torch.Tensor]:
        """The weights at the end of tuning and repair."""
        tuned = self.start.plus(self.train(mitigations, rows))
        return tensors(repair(self.house, tuned, in_order(mitigations), self.context(mitigations)).layers[-1])

    @property
    def stages(self) -> list[str]:
        """What was made or found, in order."""
        return [stage["stage"] for stage in self.house.stages]


def tensors(layer: Layer) -> dict[str, torch.Tensor]:
    """A layer's weights."""
    return load_file(layer.folder / "weights.safetensors")
