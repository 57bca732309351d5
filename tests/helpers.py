"""A cell from overrides, as on the command line, and small ones that run in a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ftsafety.cell import Cell, build_cell
from ftsafety.plugins import register
from ftsafety.settings import Root

NAMED = ("model", "attack", "align", "strategy")
FEW = {"stand_in": "per_category=1", "stand_in_allowed": "per_category=1", "stand_in_utility": "limit=2"}
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


def cell_of(*overrides: str) -> Cell:
    """What ``python -m ftsafety`` builds from these overrides."""
    ConfigStore.instance().store(name="root_schema", node=Root)
    register()
    with initialize_config_module("ftsafety.conf", version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    choices = config.hydra.runtime.choices
    names = {group: str(choices[group]) for group in NAMED if choices.get(group)}
    return build_cell(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), names)


def small(folder: Path, benchmarks: Sequence[str] = tuple(FEW)) -> list[str]:
    """Overrides for as little of each stage as there can be, in ``folder``; the tiny model's answers are noise that no judge reads."""
    asked = [f"benchmark=[{','.join(benchmarks)}]", *[f"benchmark.{name}.{FEW[name]}" for name in benchmarks]]
    return [
        "model=tiny",
        "tuning.epochs=2",
        "decoding.max_new_tokens=6",
        "max_unscored=1.0",
        f"paths.runs={folder}/runs",
        f"paths.store={folder}/store",
        *asked,
    ]


def small_cell(folder: Path, *overrides: str, benchmarks: Sequence[str] = tuple(FEW)) -> Cell:
    """A small cell whose runs and store lie in ``folder``; later overrides win."""
    return cell_of(*small(folder, benchmarks), *overrides)
