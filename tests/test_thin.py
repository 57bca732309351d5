"""Few rows multiplied the other way around: the same numbers, and layers as they were afterwards."""

from __future__ import annotations

import pytest
import torch

from ftsafety.thin import FEW, ThinProducts


def layers(dtype: torch.dtype = torch.float32) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(24, 40), torch.nn.Tanh(), torch.nn.Linear(40, 7, bias=False)).to(dtype)


@pytest.mark.parametrize("rows", [FEW.start, FEW.stop - 1])
@pytest.mark.parametrize("shape", [(1,), ()], ids=["decoding", "flat"])
def test_the_product_is_the_same(rows: int, shape: tuple[int, ...]) -> None:
    module, inputs = layers(), torch.randn(rows, *shape, 24)
    expected = module(inputs)
    with ThinProducts(module).of(rows):
        assert all("forward" in vars(layer) for layer in module if isinstance(layer, torch.nn.Linear))
        found = module(inputs)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("rows", "dtype"), [(1, torch.float32), (FEW.stop, torch.float32), (FEW.start, torch.bfloat16)])
def test_nothing_changes_where_the_usual_way_is_as_fast_or_was_not_measured(rows: int, dtype: torch.dtype) -> None:
    module = layers(dtype)
    with ThinProducts(module).of(rows):
        assert not any("forward" in vars(layer) for layer in module)


def test_layers_are_themselves_again_after_an_error() -> None:
    module = layers()
    with pytest.raises(RuntimeError), ThinProducts(module).of(2):
        module(torch.randn(2, 5))
    assert not any("forward" in vars(layer) for layer in module)
