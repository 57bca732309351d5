"""The chat vector: what alignment added to the pre-trained model, added to the tuned model once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ftsafety_plugin_repair.edit import Tensors
from ftsafety_plugin_repair.never_aligned import NeverAligned
from ftsafety_plugin_repair.safety_vector import SafetyVector

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class ChatVector(SafetyVector, NeverAligned):
    """The start weights minus the never-aligned ones are added to the tuned weights: what is often run under RESTA's name, without its unaligned twin."""

    source = "RESTA's sum (Bhardwaj et al. 2024, arXiv 2402.11746) with the difference of Huang et al. 2024 (arXiv 2310.04799)"
    fidelity = "a variant of RESTA, not RESTA; the scale is ours"
    tiny: ClassVar[Sequence[str]] = ("mitigation.chat_vector.raw={_target_:ftsafety.model.tiny.Tiny,init_seed:1}",)

    def less_safe(self, context: Context) -> Tensors:
        return self.never_aligned(context)
