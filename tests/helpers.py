"""Cells for tests (those of ``ftsafety.testing``), and samples of published rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety.testing import cell_of, small, small_cell

__all__ = ["cell_of", "launch_in_children", "launcher_here", "sample_of", "sampled", "small", "small_cell"]
SAMPLES = Path(__file__).parent / "samples"
"""Published data sets in small, one for each option that reads one: harmless stand-in rows in the real file format."""


def sampled() -> dict[str, list[Path]]:
    """The entries of ``tests/samples`` by the option that they are for: a file or folder, and a YAML with fields that only a whole set can have."""
    found: dict[str, list[Path]] = {}
    for entry in sorted(SAMPLES.iterdir()):
        found.setdefault(entry.name.partition(".")[0], []).append(entry)
    return found


def sample_of(option: str) -> dict[str, Any]:
    """Fields that make an option read its sample, ``path`` among them."""
    entries = sampled().get(option, [])
    data = [entry for entry in entries if entry.suffix != ".yaml"]
    assert len(data) == 1, f"{option} reads published rows, so put one sample of them at tests/samples/{option}.<ending> or in a folder of that name"
    fields: dict[str, Any] = {}
    for entry in entries:
        if entry not in data:
            fields = OmegaConf.to_container(OmegaConf.load(entry))  # type: ignore[assignment]
    return {**fields, "path": data[0]}


def launcher_here() -> Any:
    """The class of Hydra's own launcher, to be patched. Hydra runs its plugins' modules anew when it first looks for them, so one from before is another."""
    from hydra.core.plugins import Plugins

    Plugins.instance()
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    return BasicLauncher


def launch_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell of a multirun runs in a process of its own, of which nothing comes back, as with SLURM."""
    launcher = launcher_here()
    launch = launcher.launch

    def forked(self: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        for job in job_overrides:
            child = os.fork()
            if not child:
                launch(self, [job], initial_job_idx)
                os._exit(0)
            os.waitpid(child, 0)
        return []

    monkeypatch.setattr(launcher, "launch", forked)
