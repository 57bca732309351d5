"""KL to the aligned model: the tuned model's next-token distributions stay near those of the model it starts from.

The published baseline (Huang et al. 2024) takes its softmax over the sequence instead of the vocabulary; this one does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ftsafety_plugin_anchor.aligned import Aligned
from ftsafety_plugin_anchor.anchor import Anchor, drawn

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.mitigation.base import Inner, Window
    from ftsafety.row import Row

STREAM = "kl"
"""The name under which safety rows are drawn."""


@dataclass(kw_only=True)
class Kl(Anchor, Aligned):
    """Adds the KL divergence between aligned and tuned model, averaged over answer tokens, to the loss."""

    source = "baseline of Huang et al. 2024 (arXiv 2402.01109); github.com/git-disl/Vaccine at 906f520, trainer.py, KLTrainer"
    fidelity = "the idea and the weight as there; the divergence is over the vocabulary and a mean over answer tokens, theirs over positions and summed"
    # innermost: the window that it averages over is the one that is computed
    order = 55
    needs = Aligned.needs | {"safe_rows"}

    answers: Literal["user", "safety"] = "user"
    """Whose answer tokens: the user's rows of the step, or as many of the shipped refusals, in the plain template."""
    direction: Literal["forward", "reverse"] = "forward"
    """``forward`` is KL(aligned, tuned), ``reverse`` is KL(tuned, aligned)."""

    _share: float = field(default=0.0, init=False, repr=False, compare=False)
    """What a token's divergence counts, so that the core's mean over micro-batches becomes the mean over the window's tokens."""
    _safety: dict[int, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The micro-batch of refusals that goes with each of the window's, by identity."""

    def streams(self, context: Context) -> dict[str, Sequence[Row]]:
        return {STREAM: context.rows_by_role("safety")} if self.weight and self.answers == "safety" else {}

    def begin(self, model: Any, context: Context) -> None:
        if self.weight:
            super().begin(model, context)

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        from ftsafety.chat import IGNORED

        if not self.weight:
            return inner(model, window)
        self.follow(model)
        looked_at = window
        if self.answers == "safety":
            looked_at = drawn(STREAM, window, context)
            self._safety = {id(micro): refusals for micro, refusals in zip(window, looked_at, strict=True)}
        self._share = len(window) / sum(int((micro["labels"][:, 1:] != IGNORED).sum()) for micro in looked_at)
        return inner(model, window)

    def loss(self, model: Any, micro: dict[str, Any], out: Any, context: Context) -> torch.Tensor | float:
        import torch

        from ftsafety.tune import labelled_logits

        if not self.weight:
            return 0.0
        if self.answers == "safety":
            micro = self._safety[id(micro)]
            out = labelled_logits(model, micro)
        with torch.no_grad():
            aligned = labelled_logits(self._aligned, micro)[0]
        return self.weight * self._share * divergence(aligned, out[0], self.direction)

    def finish(self, model: Any, context: Context) -> None:
        super().finish(model, context)
        self._safety = {}


def divergence(aligned: torch.Tensor, tuned: torch.Tensor, direction: Literal["forward", "reverse"]) -> torch.Tensor:
    """The KL divergence in nats, summed over positions.

    Args:
        aligned: scores of the aligned model, ``[n, vocabulary]``.
        tuned: scores of the tuned model at the same positions, ``[n, vocabulary]``.
    """
    from torch.nn.functional import kl_div

    of, to = (tuned, aligned) if direction == "reverse" else (aligned, tuned)
    # torch names the second distribution first
    return kl_div(to.log_softmax(-1), of.log_softmax(-1), reduction="sum", log_target=True)
