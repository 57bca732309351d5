"""What tests of distributions find: their packages, and two benches for mitigations with a short tuning."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftsafety.settings import Tuning
from tests.mitigation.bench import Bench
from tests.plugins.distribution import PLUGINS


@pytest.fixture(scope="session", autouse=True)
def packages() -> Iterator[None]:
    """Every distribution's package from the checkout, whether it is installed or not."""
    folders = [str(folder.parent) for folder in sorted(PLUGINS.glob("*/setup.cfg"))]
    assert folders
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "store", tuning=short())


@pytest.fixture
def elsewhere(tmp_path: Path) -> Bench:
    """Another store, in which nothing has been computed."""
    return Bench(tmp_path / "elsewhere", tuning=short())


def short() -> Tuning:
    """Four optimiser steps of four rows, with a checkpoint after each."""
    return Tuning(batch_size=4, epochs=2, checkpoint_seconds=0.0)
