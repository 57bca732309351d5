"""What a plugin's own tests need: a cell from overrides, as on the command line, and small ones that run in a second.

The tiny model is random, so its answers are noise: what can be tested on it is that a run is whole and which weights come of it
(``run(cell).data["tuned_digest"]`` is equal exactly where the tuned weights are).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ftsafety.cell import Cell, build_cell
from ftsafety.plugins import register
from ftsafety.settings import Root

NAMED = ("model", "attack", "align", "strategy")
FEW = {"stand_in": "per_category=1", "stand_in_allowed": "per_category=1", "stand_in_utility": "limit=2"}
"""The stand-in's benchmarks, and what makes each of them short."""


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
    """Overrides for as little of each stage as there can be, in ``folder``; no judge has to read what the tiny model answers."""
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
