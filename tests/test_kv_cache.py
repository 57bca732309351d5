"""A cache with room against transformers' own, which makes new tensors with every token."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from ftsafety.kv_cache import gathered

LAYERS, HEADS, SIZE = 2, 3, 4


def cache_of(rows: int, length: int, seed: int) -> DynamicCache:
    generator = torch.Generator().manual_seed(seed)
    cache = DynamicCache()
    for layer in range(LAYERS):
        cache.update(*(torch.randn(rows, HEADS, length, SIZE, generator=generator) for _ in range(2)), layer)
    return cache


def same(left: DynamicCache, right: DynamicCache) -> bool:
    return all(torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values) for a, b in zip(left.layers, right.layers, strict=True))


def test_steps_and_leaving_rows_are_as_in_a_plain_cache() -> None:
    plain, roomy = cache_of(4, 5, seed=0), gathered([cache_of(4, 5, seed=0)], [5], 3)
    assert same(plain, roomy)
    for step, kept in enumerate(([0, 2, 3], [1, 2], [1])):
        for cache in (plain, roomy):
            cache.batch_select_indices(torch.tensor(kept))
        generator = torch.Generator().manual_seed(step)
        for layer in range(LAYERS):
            new = [torch.randn(len(kept), HEADS, 1, SIZE, generator=generator) for _ in range(2)]
            expected, shown = plain.update(*new, layer), roomy.update(*new, layer)
            assert all(torch.equal(a, b) for a, b in zip(expected, shown, strict=True))
        assert same(plain, roomy)
        assert roomy.get_seq_length() == plain.get_seq_length() == 6 + step


def test_narrower_rows_are_padded_after_what_all_begin_with() -> None:
    wide, narrow = cache_of(2, 7, seed=1), cache_of(3, 4, seed=2)
    whole = gathered([wide, narrow], [5, 2], 1)
    keys = whole.layers[1].keys
    assert keys.shape == (5, HEADS, 7, SIZE)
    assert torch.equal(keys[:2], wide.layers[1].keys)
    assert torch.equal(keys[2:, :, :2], narrow.layers[1].keys[:, :, :2])
    assert torch.equal(keys[2:, :, 2:5], torch.zeros(3, HEADS, 3, SIZE))
    assert torch.equal(keys[2:, :, 5:], narrow.layers[1].keys[:, :, 2:])


def test_a_step_copies_nothing() -> None:
    roomy = gathered([cache_of(2, 3, seed=0)], [3], 2)
    place = roomy.layers[0].keys.data_ptr()
    roomy.update(torch.ones(2, HEADS, 1, SIZE), torch.ones(2, HEADS, 1, SIZE), 0)
    assert roomy.layers[0].keys.data_ptr() == place
