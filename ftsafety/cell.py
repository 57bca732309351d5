"""A cell: one run, built and checked, with nothing spent yet."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from ftsafety import engines, stand_in
from ftsafety.align import Align
from ftsafety.attack import Attack
from ftsafety.attack.twins import NullSelf, Shuffled
from ftsafety.benchmark import Benchmark
from ftsafety.benchmark.rated import Rated
from ftsafety.build import build, did_you_mean
from ftsafety.component import Component
from ftsafety.errors import ConfigError
from ftsafety.hashing import digest_of, digest_of_path
from ftsafety.judge import Judge
from ftsafety.logger import Logger
from ftsafety.mitigation import Mitigation, in_order
from ftsafety.mitigation.base import TRAINING_HOOKS
from ftsafety.model import Model
from ftsafety.model.hosted import Hosted
from ftsafety.policy import Policy
from ftsafety.probe import Probe
from ftsafety.ranks import Ranks
from ftsafety.settings import Decoding, Gate, Paths, Root, Tuning
from ftsafety.strategy import Strategy
from ftsafety.trainer import Trainer

C = TypeVar("C", bound=Component)
RECORD_VERSION = 1
"""Part of every cell's id; raised when a run's record gets another shape."""


@dataclass(frozen=True)
class Cell:
    """Everything a run is made of. ``names`` are for people and never part of its identity."""

    model: Model
    align: Align | None
    attack: Attack | None
    strategy: Strategy
    mitigations: dict[str, Mitigation]
    policy: Policy
    benchmarks: dict[str, Benchmark]
    judges: dict[str, Judge]
    tuning: Tuning
    decoding: Decoding
    seed: int = 0
    controls: bool = False
    max_unscored: float = 0.02
    gate: Gate = field(default_factory=Gate)
    paths: Paths = field(default_factory=Paths)
    reveal: bool = False
    ranks: Ranks = field(default_factory=Ranks)
    logger: Logger | None = None
    """Who is told of the run; never part of its identity."""
    probe: Probe | None = None
    """What is asked while the model is tuned; part of the run's identity where it may end the tuning."""
    names: dict[str, str] = field(default_factory=dict)

    def recipe(self) -> dict[str, Any]:
        """All that determines the run's result, as JSON data."""
        tuned = self.attack is not None
        return {
            "record": RECORD_VERSION,
            "engines": engines.versions(),
            "data": digest_of_path(stand_in.FOLDER),
            "model": self.model.recipe(),
            "align": align_recipe(self.align) if self.align else None,
            "attack": self.attack.recipe() if self.attack else None,
            "strategy": self.strategy.recipe() if tuned else None,
            "mitigation": [[name, mitigation.recipe()] for name, mitigation in sorted(self.mitigations.items())],
            "benchmark": {name: benchmark.recipe() for name, benchmark in sorted(self.benchmarks.items())},
            "judge": {name: judge.recipe() for name, judge in sorted(self.judges.items())},
            "tuning": self.tuning.whole_recipe() if tuned else None,
            "decoding": self.decoding.recipe(self.seed),
            "max_unscored": self.max_unscored,
            "seed": self.seed,
            **({"probe": self.probe.recipe()} if tuned and self.probe and self.probe.stops else {}),
        }

    @property
    def id(self) -> str:
        """Twelve hex digits that name this run, on every machine; the seed has a folder of its own."""
        return digest_of({**self.recipe(), "seed": None})[:12]

    @property
    def folder_name(self) -> str:
        """``<attack>-<strategy>-<mitigation>-<id>/seed=<n>`` under ``paths.runs``."""
        mitigation = "+".join(sorted(self.mitigations)) or "none"
        attack = self.names.get("attack", "none")
        return f"{attack}-{self.names.get('strategy', 'none') if self.attack else 'none'}-{mitigation}-{self.id}/seed={self.seed}"

    @property
    def ordered_mitigations(self) -> list[Mitigation]:
        """Mitigations in the order in which they act."""
        return in_order(self.mitigations)

    def twins(self) -> dict[str, Cell]:
        """The controls that are fine-tuned: this cell with another attack, and nothing else changed."""
        if self.attack is None:
            return {}
        attacks: dict[str, Attack] = {"null_self": NullSelf(of=self.attack), **self.attack.twins(), "shuffled": Shuffled(of=self.attack)}
        name = self.names.get("attack", "attack")
        # a probe that changes nothing is not asked of controls, whose tunings it would have done once more
        probe = self.probe if self.probe and self.probe.stops else None
        return {
            twin: dataclasses.replace(
                self,
                attack=attack,
                mitigations=copy.deepcopy(self.mitigations),
                controls=False,
                gate=Gate(),
                probe=probe,
                names={**self.names, "attack": f"{name}.{twin}"},
            )
            for twin, attack in attacks.items()
        }


def align_recipe(stage: Align) -> dict[str, Any]:
    """An alignment stage's recipe without what only changes its speed."""
    return {**stage.recipe(), "tuning": stage.tuning.whole_recipe()}


def build_cell(config: DictConfig, names: dict[str, str] | None = None) -> Cell:
    """Build and check every component of a composed configuration.

    Raises:
        ConfigError: one sentence; nothing was written or loaded.
    """
    allowed = [field.name for field in dataclasses.fields(Root)]
    for key in map(str, config):
        if key not in allowed:
            raise ConfigError(f"{key} does not exist; a run takes {', '.join(allowed)}.{did_you_mean(key, allowed)}")
    policy, judges = build(config.policy, Policy, "policy"), _several(config, "judge", Judge)
    cell = Cell(
        model=build(config.model, Model, "model"),
        align=_optional(config, "align", Align),
        attack=_optional(config, "attack", Attack),
        strategy=build(config.strategy, Strategy, "strategy"),
        mitigations=_several(config, "mitigation", Mitigation),
        policy=policy,
        benchmarks=_several(config, "benchmark", Benchmark),
        judges={name: judge.within(policy, {other: its for other, its in judges.items() if other != name}) for name, judge in judges.items()},
        tuning=_settings(config, "tuning", Tuning),
        decoding=_settings(config, "decoding", Decoding),
        seed=config.seed,
        controls=config.controls,
        max_unscored=config.max_unscored,
        gate=_settings(config, "gate", Gate),
        paths=_settings(config, "paths", Paths),
        reveal=config.reveal,
        logger=_optional(config, "logger", Logger),
        probe=_optional(config, "probe", Probe),
        ranks=Ranks(build(config.trainer, Trainer, "trainer"), OmegaConf.to_yaml(config, resolve=True), names or {}),
        names=names or {},
    )
    _check(cell)
    return cell


def _optional(config: DictConfig, key: str, base: type[C]) -> C | None:
    return build(config[key], base, key) if config[key] is not None else None


def _several(config: DictConfig, key: str, base: type[C]) -> dict[str, C]:
    return {str(name): build(config[key][name], base, f"{key}.{name}") for name in sorted(config[key])}


def _settings(config: DictConfig, key: str, cls: type[Any]) -> Any:
    node, names = config[key], [field.name for field in dataclasses.fields(cls)]
    for name in map(str, node):
        # a key added with a plus gets past Hydra's own check
        if name not in names:
            raise ConfigError(f"{key}.{name} does not exist; {key} takes {', '.join(names)}.{did_you_mean(name, names)}")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), node))


def _check(cell: Cell) -> None:
    if not cell.benchmarks:
        raise ConfigError("there is no benchmark, so nothing would be measured; type e.g. benchmark=[stand_in].")
    if not cell.judges and any(benchmark.kind != "utility" for benchmark in cell.benchmarks.values()):
        raise ConfigError("there is no judge; type e.g. judge=[outcome].")
    if (cell.attack or cell.align) and not cell.model.tunable:
        raise ConfigError(
            f"model={cell.names.get('model', type(cell.model).__name__)} has no weights to tune; choose another model, or leave attack and align out."
        )
    cell.model.check("model")
    _check_hosted(cell)
    # a panel comes after its members, which have places of their own
    for name, judge in sorted(cell.judges.items(), key=lambda item: len(item[1].members())):
        judge.check(f"judge.{name}")
    for name, mitigation in cell.mitigations.items():
        if cell.attack is None:
            raise ConfigError(f"mitigation={name} needs something to mitigate; add an attack with +attack=NAME.")
        if mitigation.stage == "align" and cell.align is None:
            raise ConfigError(f"mitigation={name} acts while a model is aligned, and this run aligns none; add align=sft and a model that is not aligned yet.")
        strategy = cell.align.strategy if mitigation.stage == "align" and cell.align else cell.strategy
        mitigation.check(cell.judges)
        if missing := lacking(type(mitigation), type(strategy)):
            raise ConfigError(f"mitigation={name} needs {', '.join(missing)}, which {type(strategy).__name__} can't offer; choose another strategy.")
    for stage in ("align", "tune"):
        exclusive = [name for name, mitigation in cell.mitigations.items() if mitigation.exclusive and mitigation.stage == stage]
        if len(exclusive) > 1:
            raise ConfigError(f"{' and '.join(exclusive)} each own the whole optimiser step; choose one of them.")
    cell.ranks.trainer.check()
    if cell.logger:
        cell.logger.check()
    if cell.probe:
        if cell.attack is None or not cell.model.local:
            raise ConfigError("a probe looks at a model while it is tuned here; add +attack=NAME and a model whose weights are here, or leave probe out.")
        cell.probe.check(cell.benchmarks, cell.judges, cell.ranks.trainer.devices)
    cell.tuning.check("tuning")
    cell.decoding.check()
    cell.strategy.check("strategy")
    if cell.align:
        if not cell.align.strategy.merges:
            raise ConfigError(
                f"align.strategy={type(cell.align.strategy).__name__} can't be merged into the weights, and the attack is trained on top of them; "
                "choose e.g. lora or full for the alignment."
            )
        cell.align.tuning.check("align.tuning")
        cell.align.strategy.check("align.strategy")
    for name, benchmark in cell.benchmarks.items():
        benchmark.questions()
        if isinstance(benchmark, Rated) and not any(judge.measures("utility") for judge in cell.judges.values()):
            raise ConfigError(f"benchmark={name} has no known answers, and none of the judges rates answers; add one that does, such as judge=[...,rating].")
    if cell.attack:
        cell.attack.check()
        for twin in cell.twins().values() if cell.controls else ():
            if twin.attack:
                twin.attack.check()
    for limit in ("max_compliance", "max_increase", "max_over_refusal"):
        value = getattr(cell.gate, limit)
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"gate.{limit}={value} is not possible; give a share between 0 and 1, such as 0.05.")
    if _gated(cell.gate) and cell.model.scope == "stand_in" and not cell.gate.rehearse:
        raise ConfigError(
            "the gate is refused on the stand-in, where a pass says nothing about a deployed model; choose your own model, or rehearse with gate.rehearse=true."
        )


SUPPLIED = frozenset({"safe_rows", "pre", "judge"})
"""Needs that the run itself can meet, whatever the strategy."""


LOCAL_HOOKS = (*TRAINING_HOOKS, "base", "repair", "logits")
"""Hooks that act on weights, which a hosted model does not show."""


def lacking(mitigation: type[Mitigation], strategy: type[Strategy]) -> list[str]:
    """What a mitigation needs that neither a strategy nor the run itself can give it; together they are refused then."""
    at_hand = {"weights"} if strategy.hosted and any(getattr(mitigation, hook) is not getattr(Mitigation, hook) for hook in LOCAL_HOOKS) else set()
    return sorted((mitigation.needs | at_hand) - strategy.offers - SUPPLIED)


def _check_hosted(cell: Cell) -> None:
    """Refuse what a service that hosts the model can't be told, instead of leaving it out."""
    name, hosted = cell.names.get("model", type(cell.model).__name__), isinstance(cell.model, Hosted)
    if cell.attack and cell.strategy.hosted is not hosted:
        raise ConfigError(
            f"model={name} is tuned by the service that hosts it, whose way is strategy=api; leave strategy out."
            if hosted
            else f"strategy=api tunes where a model is hosted, and model={name} is here; choose another strategy, such as strategy=lora."
        )
    if not hosted:
        return
    if cell.align:
        raise ConfigError(f"align trains weights that are here, and model={name} is hosted elsewhere; leave align out.")
    settable, usual = ("epochs", "batch_size"), Tuning()
    if changed := [key for key in vars(usual) if key not in settable and getattr(cell.tuning, key) != getattr(usual, key)] if cell.attack else []:
        raise ConfigError(
            f"tuning.{changed[0]} can't be set through a fine-tuning API; leave it out. What can be set are tuning.epochs, tuning.batch_size and "
            "strategy.learning_rate_multiplier."
        )


def _gated(gate: Gate) -> bool:
    return any(limit is not None for limit in (gate.max_compliance, gate.max_increase, gate.max_over_refusal))
