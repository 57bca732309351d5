"""What mitigations share that look at the aligned model at every step: a copy of the model as the tuning starts."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from ftsafety.mitigation import Mitigation

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class Aligned(Mitigation):
    """Base of the mitigations that compare the tuned model with the one that it starts from."""

    # weights: where they can't be merged, as with learned tokens, the start differs from the aligned model already
    needs = frozenset({"gradients", "logits", "weights"})

    _aligned: Any = field(default=None, init=False, repr=False, compare=False)
    """The model as it starts; what the strategy leaves frozen is shared with the model that is tuned."""

    def begin(self, model: Any, context: Context) -> None:
        self._aligned = copy.deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad}).eval()

    def finish(self, model: Any, context: Context) -> None:
        self._aligned = None

    def follow(self, model: Any) -> None:
        """Bring the copy to where the trainer has put the model, and into its precision."""
        pairs = zip(chain(self._aligned.parameters(), self._aligned.buffers()), chain(model.parameters(), model.buffers()), strict=True)
        for kept, moving in pairs:
            kept.data = kept.data.to(moving)
