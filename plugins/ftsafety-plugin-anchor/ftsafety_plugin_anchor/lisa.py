"""Lisa: steps on refusals and steps on the user's rows in turn, each held near where the other left off (Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety_plugin_anchor.anchor import Anchor, drawn

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Inner, Window
    from ftsafety.row import Row

STREAM = "lisa"
"""The name under which refusals are drawn."""


@dataclass(kw_only=True)
class Lisa(Anchor):
    """Alternates refusals with the user's rows, and adds half the squared distance from the other state's last weights to the loss."""

    source = "Huang et al. 2024 (arXiv 2405.18641); github.com/git-disl/Lisa at 2e9c24c, trainer.py"
    fidelity = "states, anchors, warm-up and numbers as in the code, counted in optimiser steps; refusals are the shipped ones, drawn with replacement"
    off: ClassVar[Mapping[str, Any]] = {"align_steps": 0, "weight": 0.0}
    control: ClassVar[Mapping[str, Any]] = {"weight": 0.0}
    tiny: ClassVar[Sequence[str]] = ("mitigation.lisa.align_steps=1", "mitigation.lisa.user_steps=2")
    order = 30
    needs = frozenset({"gradients", "safe_rows"})

    align_steps: int
    """Optimiser steps on refusals before each change; these come first. 0, with a weight of 0, is plain tuning."""
    user_steps: int
    """Optimiser steps on the user's rows before each change."""
    warmup: float
    """Share of all steps that pass before the distance counts."""

    _aligning: bool = field(default=True, init=False, repr=False, compare=False)
    _clock: int = field(default=0, init=False, repr=False, compare=False)
    """Steps since the last change."""
    _left: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What is trained, by name, as each state (``align``, ``user``) last left it."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        if self.align_steps < 0 or self.user_steps < 1:
            raise ConfigError(
                f"{self.option}: align_steps={self.align_steps} and user_steps={self.user_steps} are not possible; give at least 0 and 1, such as 1 and 9."
            )
        if not self.align_steps and self.weight:
            raise ConfigError(f"{self.option} without align_steps only holds the start weights; choose mitigation=[l2] for that, or set align_steps.")
        if not 0 <= self.warmup <= 1:
            raise ConfigError(f"{self.option}.warmup={self.warmup:g} is not possible; give a share of the steps, 0 to 1.")

    def streams(self, context: Context) -> dict[str, Sequence[Row]]:
        return {STREAM: context.rows_by_role("safety")} if self.align_steps else {}

    def begin(self, model: Any, context: Context) -> None:
        if context.total_steps <= self.align_steps:
            raise ConfigError(
                f"{self.option}.align_steps={self.align_steps} would spend all {context.total_steps} optimiser steps on refusals; give fewer, such as "
                f"{self.option}.align_steps=1 {self.option}.user_steps=9."
            )
        self._aligning, self._clock = True, 0
        self._left = {state: _trained(model) for state in ("align", "user")} if self.align_steps else {}

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        if not self.align_steps:
            return inner(model, window)
        if self._clock == (self.align_steps if self._aligning else self.user_steps):
            self._left["align" if self._aligning else "user"] = _trained(model)
            self._aligning, self._clock = not self._aligning, 0
        self._clock += 1
        loss = inner(model, drawn(STREAM, window, context) if self._aligning else window)
        return loss + self._pull(model) if self.weight and context.step > self.warmup * context.total_steps else loss

    def finish(self, model: Any, context: Context) -> None:
        self._left = {}

    def state(self) -> dict[str, Any]:
        return {"aligning": self._aligning, "clock": self._clock, "left": self._left}

    def load(self, state: dict[str, Any]) -> None:
        self._aligning, self._clock, self._left = state["aligning"], state["clock"], state["left"]

    def _pull(self, model: Any) -> float:
        """Half the weighted squared distance from where the other state left off; adds its gradient."""
        other, total = self._left["user" if self._aligning else "align"], 0.0
        for name, p in model.named_parameters():
            if p.grad is not None:
                gap = p.detach() - other[name].to(p)
                p.grad.add_(gap, alpha=self.weight)
                total += float(gap.float().square().sum())
        return self.weight / 2 * total


def _trained(model: Any) -> dict[str, Any]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
