"""Keys and values of a batch in tensors with room for what is to come: a decoding step writes its own and copies nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, ``[rows, heads, room, size]``, of which the first ``filled`` positions are in use.

    A ``DynamicLayer`` makes new tensors with every token, which took a tenth of a step's time on two CPU cores (66 rows of about 120 tokens).
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, filled: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._keys, self._values = keys, values
        self._show(filled)

    def _show(self, filled: int) -> None:
        self.keys, self.values = self._keys[:, :, :filled], self._values[:, :, :filled]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Write what a step adds; all keys and values up to there."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        self._keys[:, :, start:end] = key_states
        self._values[:, :, start:end] = value_states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, in place: the first tensors stay, with fewer rows in use."""
        for tensor, shown in ((self._keys, self.keys), (self._values, self.values)):
            tensor[: len(indices), :, : shown.shape[-2]] = shown[indices]
        self._keys, self._values = self._keys[: len(indices)], self._values[: len(indices)]
        self._show(self.keys.shape[-2])


def repeated(cache: Any, rows: int) -> DynamicCache:
    """A one-row cache for several rows: its tensors are shown again, with their gradient, and not copied until something is added."""
    # a plain cache: one made from a sliding-window model's configuration would drop keys
    every = DynamicCache()
    for at, layer in enumerate(cache.layers):
        every.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), at)
    return every


def gathered(parts: Sequence[Any], own: Sequence[int], more: int) -> DynamicCache:
    """One cache for the rows of several, with room for ``more`` tokens each.

    Args:
        parts: ``DynamicCache`` of forward passes over some of the rows; all begin with the same number of positions (virtual tokens,
            a common beginning), after which each holds its own, left-padded to one width.
        own: that width, part by part. The rows of a narrower part are padded on, after what all begin with.
    """
    first = parts[0].layers[0].keys
    begin, width = first.shape[-2] - own[0], max(own)
    rows = sum(part.layers[0].keys.shape[0] for part in parts)
    whole = DynamicCache()
    for at in range(len(parts[0].layers)):
        made: list[torch.Tensor] = []
        for name in ("keys", "values"):
            like = getattr(parts[0].layers[at], name)
            tensor = like.new_empty(rows, like.shape[1], begin + width + more, like.shape[3])
            row = 0
            for part, wide in zip(parts, own, strict=True):
                source = getattr(part.layers[at], name)
                tensor[row : row + len(source), :, :begin] = source[:, :, :begin]
                # zeros, since a masked position is multiplied too
                tensor[row : row + len(source), :, begin : begin + width - wide] = 0
                tensor[row : row + len(source), :, begin + width - wide : begin + width] = source[:, :, begin:]
                row += len(source)
            made.append(tensor)
        keys, values = made
        whole.layers.append(RoomyLayer(keys, values, begin + width))
    return whole
