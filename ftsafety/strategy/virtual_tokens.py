"""What prefix tuning and prompt tuning share: tokens that are only vectors, before every text and every shared beginning."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.strategy.peft import UNMERGED, Peft


@dataclass(kw_only=True)
class VirtualTokens(Peft):
    """Learned tokens before every text; the model keeps them when it is asked.

    peft's own forward pass puts them before whatever it is given, a continued text too. Ours puts them where a text begins, so that
    caches work as with any model: attention masks and positions are those of the real tokens, and a cache that holds anything holds
    the virtual ones first.
    """

    offers = UNMERGED
    merges = False

    num_virtual_tokens: int
    """Learned tokens."""

    def check(self, where: str) -> None:
        super().check(where)
        if self.num_virtual_tokens < 1:
            raise ConfigError(f"{where}.num_virtual_tokens={self.num_virtual_tokens} is not possible; give at least 1.")

    def wrap(self, model: Any, config: Any) -> Any:
        wrapped = super().wrap(model, config)
        wrapped.forward = partial(self._forward, wrapped)
        return wrapped

    @abstractmethod
    def begin(self, model: Any, call: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the inner model's forward pass with the virtual tokens before a text's first ones."""

    def _forward(self, model: Any, input_ids: Any, attention_mask: Any = None, position_ids: Any = None, past_key_values: Any = None, **more: Any) -> Any:
        import torch

        if attention_mask is not None:
            self._refuse_gaps(model, attention_mask)
            attention_mask = torch.cat([attention_mask.new_ones(len(input_ids), self.num_virtual_tokens), attention_mask], 1)
        if position_ids is not None:
            position_ids = position_ids + self.num_virtual_tokens
        call = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids, "past_key_values": past_key_values, **more}
        if past_key_values is None or past_key_values.get_seq_length() == 0:
            call = self.begin(model, call)
        return model.get_base_model()(**call)

    def _refuse_gaps(self, model: Any, mask: Any) -> None:
        """Refuse padding between virtual and real tokens where it would push the virtual ones out of a sliding window."""
        window = getattr(model.config.get_text_config(), "sliding_window", None)
        if window is not None and self.num_virtual_tokens + mask.shape[1] > window and bool((mask.diff(dim=1) > 0).any()):
            raise FtsafetyError(
                f"{type(self).__name__}: texts of different lengths can't be decoded together where they outgrow this model's sliding window of "
                f"{window} tokens; type decoding.batch=1."
            )
