"""Where a tuning runs: on which kind of device, on how many, and how they work together. Never part of what a run is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ftsafety.component import Component
from ftsafety.errors import ConfigError


@dataclass
class Trainer(Component):
    """One process, or several that share each optimiser step's rows; the weights agree to the last bits of the arithmetic."""

    source = "pytorch-lightning's Trainer"
    fidelity = "accelerator, devices and strategy are passed on; the loss is the mean over the labelled tokens of all processes"

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Kind of device; auto takes a GPU where there is one."""
    devices: int = 1
    """How many of them, one process each, all on this machine."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several devices work together: ddp keeps a whole model on each and adds up their gradients; fsdp divides weights, gradients and
    optimiser states among them. A divided tuning that is killed starts again."""
    start_seconds: float = 120.0
    """How long to wait for the other processes to come up before giving up."""

    def check(self) -> None:
        """Refuse numbers that can't be."""
        if self.devices < 1:
            raise ConfigError(f"trainer.devices={self.devices} is not possible; give at least 1.")
        if self.devices == 1 and self.strategy == "fsdp":
            raise ConfigError("trainer=fsdp divides a model among devices, and there is one; type trainer.devices=2 or more, or trainer=auto.")
        if self.devices > 1 and self.strategy == "auto":
            raise ConfigError(f"trainer.devices={self.devices} needs a way of working together; type trainer=ddp trainer.devices={self.devices}.")
        if not self.start_seconds > 0:
            raise ConfigError(f"trainer.start_seconds={self.start_seconds:g} is not possible; give more than 0.")
