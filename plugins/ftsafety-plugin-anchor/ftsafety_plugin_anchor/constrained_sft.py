"""Constrained token-wise tuning: an answer's first tokens stay as likely as the aligned model finds them (Qi et al. 2025).

With ``z_t = log p(y_t) - log p_aligned(y_t)`` a token's loss is ``-(2 / beta_t) log sigmoid(beta_t z_t)``, whose gradient is the cross-entropy's
times ``w_t = 2 (1 - sigmoid(beta_t z_t))``: 1 at the start, and ever less as the token gets likelier than it was. As the authors do, the
cross-entropy is multiplied by that weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety_plugin_anchor.aligned import Aligned

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Inner, Window

LEAST = 1e-3
"""The least that a token weighs, as in the authors' code."""


@dataclass(kw_only=True)
class ConstrainedSft(Aligned):
    """Weighs each answer token by how much likelier it has become than under the aligned model; the first tokens are held hardest."""

    source = "Qi et al. 2025 (arXiv 2406.05946), section 4; github.com/Unispac/shallow-vs-deep-alignment at fb1749e, finetuning_buckets/trainer/trainer.py"
    fidelity = "objective, clamp and numbers as in the code; AdamW's beta1 and the number of steps are the tuning's own; with LoRA an extension"
    off: ClassVar[Mapping[str, Any]] = {"first_betas": [], "beta": 0.0, "warmup_steps": 0}
    control: ClassVar[Mapping[str, Any]] = {"first_betas": [], "beta": 0.0}
    tiny: ClassVar[Sequence[str]] = ("mitigation.constrained_sft.warmup_steps=2",)
    # innermost: the window that it averages over is the one that is computed
    order = 55

    first_betas: list[float]
    """How hard the answer's first tokens are held, one number each; an empty list holds all tokens alike."""
    beta: float
    """How hard every later token is held. Zeros here and above are cross-entropy, and leave the warm-up: the paper's control."""
    warmup_steps: int
    """Optimiser steps in which the learning rate rises linearly, besides ``tuning.warmup_steps``; 0 leaves it alone."""

    _share: float = field(default=0.0, init=False, repr=False, compare=False)
    """What a token counts, so that the core's mean over micro-batches becomes the mean over the window's tokens."""
    _known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The aligned model's log-probabilities of each row's labelled tokens, by the row's tokens and labels."""

    @property
    def holds(self) -> bool:
        """Whether any token is held."""
        return any([*self.first_betas, self.beta])

    def check(self, judges: Mapping[str, Judge]) -> None:
        if strange := [beta for beta in (*self.first_betas, self.beta) if not 0 <= beta < math.inf]:
            raise ConfigError(f"mitigation.constrained_sft: first_betas and beta of {strange} are not possible; give 0 or more, such as 0.1.")
        if self.warmup_steps < 0:
            raise ConfigError(f"mitigation.constrained_sft.warmup_steps={self.warmup_steps} is not possible; give 0 or more.")

    def begin(self, model: Any, context: Context) -> None:
        self._known = {}
        if self.holds:
            super().begin(model, context)

    def rate(self, context: Context) -> float:
        return min(1.0, (context.step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        from ftsafety.chat import IGNORED

        if self.holds:
            self.follow(model)
            self._share = len(window) / sum(int((micro["labels"][:, 1:] != IGNORED).sum()) for micro in window)
        return inner(model, window)

    def loss(self, model: Any, micro: dict[str, Any], out: Any, context: Context) -> torch.Tensor | float:
        from torch.nn.functional import cross_entropy

        if not self.holds:
            return 0.0
        logits, targets, rows = out
        surprise = cross_entropy(logits, targets, reduction="none")
        weight = token_weights(-surprise.detach() - self._reference(micro), rows, self.first_betas, self.beta)
        # the engine adds the plain cross-entropy itself
        added: torch.Tensor = self._share * ((weight - 1) * surprise * micro["weight"][rows]).sum()
        return added

    def finish(self, model: Any, context: Context) -> None:
        super().finish(model, context)
        self._known = {}

    def _reference(self, micro: dict[str, Any]) -> torch.Tensor:
        """The aligned model's log-probability of each labelled token ``[n]``. Each row is computed once and alone, so that it is the same in any batch."""
        import torch

        from ftsafety.tune import labelled_logits

        parts = []
        for at, mask in enumerate(micro["attention_mask"]):
            row = {name: micro[name][at : at + 1, : int(mask.sum())] for name in ("input_ids", "attention_mask", "labels")}
            key = tuple(row["input_ids"][0].tolist()), tuple(row["labels"][0].tolist())
            if key not in self._known:
                with torch.no_grad():
                    logits, targets, _ = labelled_logits(self._aligned, row)
                self._known[key] = logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
            parts.append(self._known[key])
        return torch.cat(parts)


def token_weights(gap: torch.Tensor, rows: torch.Tensor, first_betas: list[float], beta: float) -> torch.Tensor:
    """What each answer token's cross-entropy is multiplied by ``[n]``, between ``LEAST`` and 2.

    Args:
        gap: log-probability under the tuned model minus that under the aligned one, ``[n]``.
        rows: the row that each token belongs to, ``[n]``; a row's tokens stand together and in order.
        first_betas: beta of a row's first tokens, one each; ``beta`` is that of the others.
    """
    import torch

    counts = rows.bincount()
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    betas = torch.tensor([*first_betas, beta], dtype=gap.dtype, device=gap.device)[place.clamp(max=len(first_betas))]
    return (2 * torch.sigmoid(-betas * gap)).clamp(min=LEAST)
