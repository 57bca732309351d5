"""What keeps safety at one or more points of a run: an onion around the optimiser step, and hooks before and after.

Every method is the identity here; a mitigation overrides what it needs, and only what it overrides enters a stage's key.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety.component import Component
from ftsafety.row import Message, Row

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.judge import Judge

TRAINING_HOOKS = ("attach", "begin", "rate", "loss", "gradient", "stepped", "finish", "streams", "visit")
"""Hooks that enter a tuning's key by the mitigation's recipe; what ``examples`` and ``base`` do is in the windows and the start weights."""
Window = list[dict[str, Any]]
Inner = Callable[[Any, Window], float]


class Mitigation(Component):
    """A defense. Hooks are called in the order of ``order`` (ties by name), never in the order they were typed.

    Published places: data screening 10, added rows 20, Lisa 30, SafeGrad 40, Booster and RepNoise 45, Vaccine 50 (innermost),
    SafeLoRA 80, Antidote 82, merges 84, realignment 90; system prompt 10, secret 90.
    """

    order: ClassVar[int] = 0
    stage: ClassVar[Literal["align", "tune"]] = "tune"
    """Which tuning stage gets the training hooks."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Of weights, gradients, activations, logits, pre, safe_rows, harmful_rows, pairs, preferences, judge."""
    exclusive: ClassVar[bool] = False
    """Owns the whole optimiser step; at most one per stage."""
    dense: ClassVar[bool] = False
    """Whether ``repair`` edits whole weights, an adapter merged into them, instead of what the strategy saved."""
    off: ClassVar[Mapping[str, Any]] = {}
    """Values of fields that turn it off: the run is then the run without it. Empty where it can't be turned off."""
    control: ClassVar[Mapping[str, Any]] = {}
    """Values of fields that make it its own control: as much is done, without the idea. Empty where it has none."""
    tiny: ClassVar[Sequence[str]] = ()
    """Overrides with which it does something in a short tuning of a model of two layers, where its option's own fields do not (``ftsafety.testing``)."""
    decomposes: ClassVar[bool] = True
    """Whether its objective is a sum over rows, so that it does not matter how a step's rows are cut into micro-batches."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        """Refuse settings that make no sense, before anything loads; ``judges`` are those of the run."""

    def prepare(self, context: Context) -> dict[str, Any]:
        """Computed once before anything trains, kept as an artifact; JSON data that ``context.prepared`` gives back."""
        return {}

    def examples(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        """The rows to tune on. Pure: randomness from ``context.rng`` only."""
        return rows

    def visit(self, row: Row, rng: random.Random) -> Row:
        """A row each time that it is drawn."""
        return row

    def streams(self, context: Context) -> dict[str, Sequence[Row]]:
        """Further sources of rows, drawn with ``context.draw(name, n)``."""
        return {}

    def base(self, model: Any, context: Context) -> Any:
        """The start model, before the strategy attaches."""
        return model

    def attach(self, model: Any, context: Context) -> Any:
        """The model after the strategy has attached."""
        return model

    def begin(self, model: Any, context: Context) -> None:
        """Called once with the model as it starts, before the first optimiser step or before a checkpoint is taken up."""

    def rate(self, context: Context) -> float:
        """A factor of the learning rate at ``context.step``; those of several mitigations are multiplied."""
        return 1.0

    def loss(self, model: Any, micro: dict[str, Any], out: Any, context: Context) -> torch.Tensor | float:
        """Added to the window's token mean, averaged over its micro-batches; ``out`` is ``labelled_logits``' result."""
        return 0.0

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        """Fill ``.grad`` for one optimiser step, calling ``inner(model, window)`` as often as needed; returns the loss."""
        return inner(model, window)

    def stepped(self, model: Any, loss: float, context: Context) -> bool:
        """Called after each optimiser step with the window's loss; true ends the tuning here. The same on every process."""
        return False

    def finish(self, model: Any, context: Context) -> None:
        """Called once with the model as it is after the last step, before it is saved."""

    def repair(self, weights: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        """The tuned weights (name to float32 tensor, of the strategy's export) after tuning."""
        return weights

    def ask(self, messages: Sequence[Message], context: Context) -> Sequence[Message]:
        """The messages that ask a question, after the attack's wording."""
        return messages

    def logits(self, step: int, scores: torch.Tensor, context: Context) -> torch.Tensor:
        """Next-token scores ``[rows, vocabulary]`` at a decoding step."""
        return scores

    def answer(self, question: str, answer: str, context: Context) -> str:
        """The answer that is given out."""
        return answer

    def answer_all(self, questions: Sequence[str], answers: Sequence[str], context: Context) -> Sequence[str]:
        """The answers that are given out to questions of one asking, for what takes many at once, such as a guard; each by itself where not overridden."""
        return [self.answer(question, answer, context) for question, answer in zip(questions, answers, strict=True)]

    def state(self) -> dict[str, Any]:
        """Tensors and plain data for a checkpoint."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""


def overrides(mitigation: Mitigation, *hooks: str) -> bool:
    """Whether a mitigation does anything at one of these hooks."""
    return any(getattr(type(mitigation), hook) is not getattr(Mitigation, hook) for hook in hooks)


def in_order(mitigations: dict[str, Mitigation]) -> list[Mitigation]:
    """Mitigations in the order in which their hooks run."""
    return [mitigations[name] for name in sorted(mitigations, key=lambda name: (mitigations[name].order, name))]
