"""Gradient matching: benign rows whose gradient points where harmful rows' do, and away from where refusals' do (He et al. 2024, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ftsafety.chat import IGNORED
from ftsafety.errors import ConfigError
from ftsafety_plugin_selection.benign_subset import Anchors, BenignSubset, EncodedAnchors

if TYPE_CHECKING:
    import torch

    from ftsafety.chat import Encoded
    from ftsafety.context import Context

WEIGHTS = {"harmful": 1.0, "safe_1": -1.0, "safe_2": -1.0}
"""What the similarity with each set of anchors counts (``scripts/rank.sh``)."""
Gradient = list["torch.Tensor"]


@dataclass(kw_only=True)
class BenignSubsetGradient(BenignSubset):
    """Benign rows whose gradient is nearest to harmful rows' and farthest from refusals'; none of them is harmful.

    Every weight of the model has its part in it, so that it takes three times the model's size in memory and a row at a time.
    """

    source = "He et al. 2024 (arXiv 2404.01099), gradient matching; github.com/princeton-nlp/benign-data-breaks-safety at d44d665"
    fidelity = "scores as in the paper, in the model's precision; the code sums up anchors' gradients, which is not done here; the anchors are ours"
    backward = True

    answer_tokens: int
    """Of an anchor's answer so many tokens count; of a candidate's all do."""

    def check(self) -> None:
        super().check()
        if self.answer_tokens < 1:
            raise ConfigError(f"attack.answer_tokens={self.answer_tokens} is not possible; give 1 or more, such as 10.")

    def anchors(self, context: Context) -> Anchors:
        rows = self.harmful_anchors(context)
        return {"harmful": rows, **{f"safe_{at}": refused for at, refused in enumerate(self.refused(rows, context, 2), 1)}}

    def settings(self) -> dict[str, Any]:
        return {"answer_tokens": self.answer_tokens}

    def score(self, model: Any, candidates: Sequence[Encoded], anchors: EncodedAnchors) -> list[float | None]:
        model.requires_grad_(True)
        direction: Gradient = []
        for name, weight in WEIGHTS.items():
            mean = mean_direction(gradient(model, beginning(row, self.answer_tokens)) for row in anchors[name])
            # what is left of the sum of products is one product with the sum
            direction = [weight * part for part in mean] if not direction else [whole + weight * part for whole, part in zip(direction, mean, strict=True)]
        return [along(gradient(model, row), direction) for row in candidates]


def beginning(row: Encoded, tokens: int) -> Encoded:
    """The row with loss on the first tokens of its answer only."""
    first = next(at for at, label in enumerate(row.labels) if label != IGNORED)
    return replace(row, labels=tuple(label if at < first + tokens else IGNORED for at, label in enumerate(row.labels)))


def gradient(model: Any, row: Encoded) -> Gradient:
    """The gradient of one row's mean loss per answer token, of each weight that requires one."""
    import torch
    from torch.nn.functional import cross_entropy

    from ftsafety.tune import collate, labelled_logits

    micro = {name: tensor.to(model.device) for name, tensor in collate([row]).items()}
    logits, targets, _ = labelled_logits(model, micro)
    return list(torch.autograd.grad(cross_entropy(logits, targets), [p for p in model.parameters() if p.requires_grad], materialize_grads=True))


def mean_direction(gradients: Iterable[Gradient]) -> Gradient:
    """The mean of gradients of length one, which has a length of one only where all agree; float32."""
    total: Gradient = []
    number = 0
    for found in gradients:
        length = norm(found)
        parts = [part.float() / length for part in found] if length else [part.float() for part in found]
        total = parts if not total else [whole.add_(part) for whole, part in zip(total, parts, strict=True)]
        number += 1
    return [part / number for part in total]


def along(found: Gradient, direction: Gradient) -> float | None:
    """The product of a gradient of length one with a direction; None for one that has no length."""
    length = norm(found)
    return sum(float((part.float() * other).sum()) for part, other in zip(found, direction, strict=True)) / length if length else None


def norm(found: Gradient) -> float:
    """The Euclidean length over all weights."""
    return sum(float(part.float().square().sum()) for part in found) ** 0.5
