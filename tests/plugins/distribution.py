"""What tests of the distributions under ``plugins`` share: their options as the YAML says, and models and rows to try them on."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from ftsafety.build import build, schema_of
from ftsafety.chat import IGNORED, Encoded, encode
from ftsafety.context import Context
from ftsafety.judge import Judge
from ftsafety.mitigation import Mitigation
from ftsafety.model.tiny import Tiny
from tests.mitigation.bench import ROWS, Bench
from tests.plugins.test_example_plugin import install

Command = Callable[..., "subprocess.CompletedProcess[str]"]
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


@dataclass(frozen=True)
class Distribution:
    """A distribution of mitigations, by the last part of its name."""

    name: str

    @property
    def package(self) -> str:
        return f"ftsafety_plugin_{self.name}"

    @property
    def folder(self) -> Path:
        return PLUGINS / f"ftsafety-plugin-{self.name}"

    @property
    def options(self) -> list[str]:
        """The options that it ships, found by listing."""
        found = sorted(file.stem for file in (self.folder / self.package / "conf").glob("*/*.yaml"))
        assert found
        return found

    def node(self, option: str) -> DictConfig:
        """An option's YAML."""
        node = OmegaConf.load(self.folder / self.package / "conf" / "mitigation" / f"{option}.yaml")
        assert isinstance(node, DictConfig)
        return node

    def mitigation(self, option: str, *, judges: Mapping[str, Judge] | None = None, **fields: Any) -> Any:
        """An option as its YAML says, with a test's fields on top, checked in a run of these judges."""
        mitigation = build(OmegaConf.merge(self.node(option), fields), Mitigation, f"mitigation.{option}")
        mitigation.check(judges or {})
        return mitigation

    def shown(self, option: str, **fields: Any) -> Any:
        """An option whose YAML shows every field, and whose class says where it comes from."""
        mitigation = self.mitigation(option, **fields)
        text = (self.folder / self.package / "conf" / "mitigation" / f"{option}.yaml").read_text()
        assert text.startswith(f"# @package mitigation.{option}\n")
        assert {str(key) for key in self.node(option)} - {"_target_"} == set(schema_of(type(mitigation)).names)
        assert mitigation.source and mitigation.fidelity
        return mitigation

    def composed_when_installed(self, command: Command, folder: Path, *typed: str) -> str:
        """The configuration of a run with these overrides, from a real installation, which lists every option and composes with all of them."""
        site = install(self.folder, folder / "site")
        listed = command("ftsafety.list", path=(site,))
        assert listed.returncode == 0, listed.stderr
        assert [line.strip() for line in listed.stdout.splitlines()].count(f"plugin: {self.name}") == len(self.options)
        composed = command("ftsafety", "--cfg", "job", "+attack=identity_shift", *typed, path=(site,))
        assert composed.returncode == 0, composed.stderr
        assert all(f"_target_: {self.package}.{option}." in composed.stdout for option in self.options)
        return composed.stdout


@dataclass
class Watch(Mitigation):
    """Outermost: keeps the loss and the gradient of each optimiser step as the optimiser will see them."""

    losses: list[float] = field(default_factory=list, init=False)
    gradients: list[dict[str, torch.Tensor]] = field(default_factory=list, init=False)

    def gradient(self, inner: Any, model: Any, window: Any, context: Context) -> float:
        self.losses.append(inner(model, window))
        self.gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        return self.losses[-1]


def watched(bench: Bench, **mitigations: Mitigation) -> Watch:
    """A tuning under mitigations, step by step."""
    watch = Watch()
    bench.train({"watch": watch, **mitigations})
    return watch


def start(strategy: Any) -> Any:
    """The tiny model with a strategy attached, as a tuning starts."""
    return strategy.attach(Tiny().load(Path()).module, 0)


def moved(model: Any) -> Any:
    """The same model with everything that is trained somewhere else."""
    generator = torch.Generator().manual_seed(3)
    for p in model.parameters():
        if p.requires_grad:
            p.data += 0.05 * torch.randn(p.shape, generator=generator)
    return model


def encoded(bench: Bench) -> list[Encoded]:
    """Four rows of unequal length; two labels fewer on the first, so that micro-batches differ in their number of tokens."""
    rows = [encode(bench.house.loader.tokenizer(bench.start), row.with_answer("Duck. " * (at + 1)), 512) for at, row in enumerate(ROWS[:4])]
    first = [at for at, label in enumerate(rows[0].labels) if label != IGNORED][:2]
    rows[0] = dataclasses.replace(rows[0], labels=tuple(IGNORED if at in first else label for at, label in enumerate(rows[0].labels)))
    return rows
