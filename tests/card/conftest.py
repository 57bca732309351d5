"""The doubles as an installed plugin, and records of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftsafety.plugins import sources
from tests.card.maker import Maker

SITE = Path(__file__).parent / "site"


@pytest.fixture(autouse=True)
def doubles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Options of ``tests/card/site``, as if it were installed."""
    monkeypatch.syspath_prepend(SITE)
    importlib.invalidate_caches()
    sources.cache_clear()
    yield
    sources.cache_clear()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "runs")
