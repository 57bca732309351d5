"""What an audit is made of: a run's parts, the screens, and how much of it is done."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ftsafety.attack.jsonl import Jsonl
from ftsafety.build import build, did_you_mean
from ftsafety.cell import Cell, build_cell
from ftsafety.errors import ConfigError
from ftsafety.screen import Screen
from ftsafety.settings import Root as RunRoot

NAMED = ("model", "attack", "align", "strategy")
OWN = ("benchmark",)
"""Groups of whose options the shipped file sets numbers, which fall away with the option."""


@dataclass
class Root(RunRoot):
    """The root of an audit's configuration: a run's, and what is an audit's own."""

    screen: dict[str, Any] = field(default_factory=dict)
    proxy: bool = True
    null_runs: int = 1
    usd_per_million_training: float | None = None


@dataclass(frozen=True)
class Audit:
    """A built audit; nothing is loaded and nothing is written yet.

    Args:
        file: the training file.
        cell: the proxy tuning: the run that is done with the file's rows.
        proxy: whether it is done.
        null_runs: tunings on the model's own answers that the null band is made of.
        usd_per_million_training: a hosted service's price of training tokens; None where it is not known.
    """

    file: Path
    cell: Cell
    screens: dict[str, Screen]
    proxy: bool
    null_runs: int
    usd_per_million_training: float | None

    @property
    def attack(self) -> Jsonl:
        """The file as a run reads it."""
        assert isinstance(self.cell.attack, Jsonl)
        return self.cell.attack


def compose_audit(file: Path, overrides: Sequence[str]) -> Audit:
    """Build and check an audit of a file from overrides.

    Raises:
        ConfigError: one sentence; nothing was written or loaded.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.config_store import ConfigStore

    from ftsafety.plugins import register

    if not file.is_file():
        raise ConfigError(f"{file} is not a file; give a JSON Lines file in OpenAI's chat format: python -m ftsafety.audit mine.jsonl.")
    for word in (word for word in overrides if "=" in word):
        _check_key(re.split("[.@=/]", word.lstrip("+~"), maxsplit=1)[0])
    ConfigStore.instance().store(name="audit_schema", node=Root)
    register()
    with initialize_config_module("ftsafety.conf", version_base="1.3"):
        found = compose("audit", list(overrides), return_hydra_config=True)
    choices = found.hydra.runtime.choices
    if choices["attack"] != "jsonl":
        raise ConfigError(f"an audit reads its own file, and not attack={choices['attack']}; leave attack out.")
    names = {group: str(choices[group]) for group in NAMED if choices.get(group)}
    config = OmegaConf.masked_copy(found, [str(key) for key in found if key != "hydra"])
    OmegaConf.set_struct(config, False)
    config.attack.path = str(file)
    for group in OWN:
        config[group] = {name: node for name, node in config[group].items() if "_target_" in node}
    return build_audit(config, file, names)


def build_audit(config: DictConfig, file: Path, names: dict[str, str]) -> Audit:
    """Build and check every part of a composed configuration."""
    for key in map(str, config):
        _check_key(key)
    run_keys = [field.name for field in dataclasses.fields(RunRoot)]
    cell = build_cell(OmegaConf.masked_copy(config, run_keys), names)
    made = Audit(
        file=file,
        cell=cell,
        screens={str(name): build(config.screen[name], Screen, f"screen.{name}") for name in sorted(config.screen)},
        proxy=config.proxy,
        null_runs=config.null_runs,
        usd_per_million_training=config.usd_per_million_training,
    )
    for name, screen in made.screens.items():
        check_screen(f"screen.{name}", screen, cell.model.local)
        screen.check(f"screen.{name}", cell.judges)
    if made.null_runs < 1:
        raise ConfigError(f"null_runs={made.null_runs} is not possible; give at least 1, or proxy=false for no tuning at all.")
    if made.usd_per_million_training is not None and made.usd_per_million_training < 0:
        raise ConfigError(f"usd_per_million_training={made.usd_per_million_training:g} is not possible; give 0 or more dollars, or null.")
    return made


def _check_key(key: str) -> None:
    allowed = [field.name for field in dataclasses.fields(Root)]
    if key not in (*allowed, "hydra"):
        raise ConfigError(f"{key} does not exist; an audit takes {', '.join(allowed)}.{did_you_mean(key, allowed)}")


def check_screen(where: str, screen: Screen, local: bool) -> None:
    """Refuse a screen that looks into a model which is not here."""
    if screen.local and not local:
        raise ConfigError(f"{where} looks into the model, whose weights are not here; choose a model whose weights are, or leave {where} out.")
