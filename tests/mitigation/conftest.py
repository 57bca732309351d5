"""Two benches for mitigations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mitigation.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "store")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Bench:
    """Another store, in which nothing has been computed."""
    return Bench(tmp_path / "elsewhere")
