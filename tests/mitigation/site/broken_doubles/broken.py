"""A mitigation that keeps to the contract, or breaks it in one of the ways that the battery looks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ftsafety.context import Context
from ftsafety.mitigation import Mitigation


@dataclass(kw_only=True)
class Broken(Mitigation):
    """Pulls what is trained towards zero, more at each step."""

    needs = frozenset({"gradients"})
    off: ClassVar[Mapping[str, Any]] = {"active": False}

    how: str = "sound"
    """``sound``, or what is wrong: ``leaky``, ``idle``, ``frozen``, ``micro``, ``forgetful``."""
    active: bool = True
    """Whether it does anything."""
    _steps: int = field(default=0, init=False, repr=False, compare=False)

    def begin(self, model: Any, context: Context) -> None:
        self._steps = 0

    def gradient(self, inner: Any, model: Any, window: Any, context: Context) -> float:
        loss: float = inner(model, window)
        if (self.active or self.how == "leaky") and self.how != "idle":
            self._steps += 1
            strength = 0.1 * self._steps * (len(window) if self.how == "micro" else 1)
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.add_(p.detach(), alpha=strength)
                elif self.how == "frozen":
                    p.data.mul_(0.99)
        return loss

    def state(self) -> dict[str, Any]:
        return {} if self.how == "forgetful" else {"steps": self._steps}

    def load(self, state: dict[str, Any]) -> None:
        self._steps = state.get("steps", 0)
