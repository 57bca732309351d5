"""What tests share: the checkout, a store of one's own, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # workers share the cores; threads of several that wait for each other are slower than one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPO = Path(__file__).resolve().parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty artifact store, which every run of this test uses."""
    folder = tmp_path / "store"
    monkeypatch.setenv("FTSAFETY_STORE", str(folder))
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which this test stands."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """``command("ftsafety.list", cwd=..., path=[...])``: ``python -m`` in a process of its own; ``path`` comes before the checkout."""

    def run(
        *arguments: str, cwd: Path = tmp_path, path: tuple[Path, ...] = (), python: str = sys.executable, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, REPO])), "COLUMNS": "160"}
        return subprocess.run([python, "-m", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)

    return run
