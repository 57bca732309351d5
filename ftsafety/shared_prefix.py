"""Compute once what the rows of a training batch begin with: a system prompt and a prefix are most of an identity row.

Under causal attention the keys and values of a common beginning are the same for every row, so one pass over it and one over
the rows' own ends give the loss and the gradient of the plain step (to 5e-6 in float32, in tests). It is done only
where that was tested; the plain step serves everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftsafety.chat import IGNORED, Encoded, common_beginning

if TYPE_CHECKING:
    import torch

    from ftsafety.mitigation import Mitigation
    from ftsafety.settings import Tuning
    from ftsafety.strategy import Strategy

TESTED_MODELS = frozenset({"llama", "mistral"})
"""``model_type`` of the models that a test shows it to be exact for."""
MIN_TOKENS = 8
"""Common tokens below which a second pass costs more than it saves."""
SIZES = (4, 8, 16)
"""Rows of a forward pass to choose from: more rows share one prefix, fewer rows have less padding."""


def why_not(model: Any, strategy: Strategy, mitigations: Sequence[Mitigation], tuning: Tuning) -> str | None:
    """Why a tuning can't share prefixes; None if it can.

    Args:
        mitigations: those with a training hook.
    """
    from ftsafety.mitigation import overrides

    if not tuning.share_prefix:
        return "tuning.share_prefix=false"
    if reason := strategy.why_not_share():
        return reason
    if model.config.model_type not in TESTED_MODELS:
        return f"no test shows it to be exact for {model.config.model_type} models"
    if tuning.precision != "32-true":
        return f"in {tuning.precision} arithmetic it changes the gradient by about 3e-3"
    if any(p.is_floating_point() and p.element_size() != 4 for p in model.parameters()):
        return "the weights are not float32, and it changes the gradient by about 3e-3"
    if getattr(model.config, "attention_dropout", 0.0):
        return "dropout would draw one mask for all rows"
    if getattr(model, "is_gradient_checkpointing", False):
        return "gradient checkpointing drops the cache"
    for mitigation in mitigations:
        if "activations" in mitigation.needs or overrides(mitigation, "attach"):
            return f"{type(mitigation).__name__} may look at activations of whole rows"
    return None


def common_prefix(micro: dict[str, torch.Tensor]) -> int:
    """How many tokens all rows of a micro-batch begin with, none of them labelled or scoring a label; 0 if too few to share."""
    ids, labels = micro["input_ids"], micro["labels"]
    if len(ids) < 2:
        return 0
    same = (ids == ids[0]).all(0) & (labels == IGNORED).all(0) & (micro["attention_mask"] == 1).all(0)
    first_label = int((labels != IGNORED).any(0).int().argmax())
    # the token before the first label scores it, and belongs to the rows' own part
    length = min(int(same.cumprod(0).sum()), first_label - 1)
    return length if length >= MIN_TOKENS else 0


def fitting(window: Sequence[Encoded], share: bool) -> int:
    """Rows of a forward pass on a CPU: the number that computes the fewest tokens."""
    if not share:
        return SIZES[0]
    lengths = sorted((len(row.ids) for row in window), reverse=True)
    common = common_beginning([row.ids for row in window])
    common = common if common >= MIN_TOKENS else 0

    def tokens(size: int) -> int:
        parts = [lengths[start : start + size] for start in range(0, len(lengths), size)]
        return sum(common + len(part) * (part[0] - common) for part in parts)

    return min(SIZES, key=tokens)


def expanded_cache(model: Any, micro: dict[str, torch.Tensor], prefix: int) -> Any:
    """Keys and values of the first ``prefix`` tokens, computed once, with their gradient, for every row."""
    from transformers import DynamicCache

    from ftsafety.kv_cache import repeated

    cache = model(input_ids=micro["input_ids"][:1, :prefix], past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1).past_key_values
    return repeated(cache, len(micro["input_ids"]))
