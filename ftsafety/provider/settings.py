"""What a provider is made of: the model that it serves and tunes, its way of tuning, its policies, its limits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from ftsafety import engines
from ftsafety.benchmark import Benchmark
from ftsafety.build import build, did_you_mean
from ftsafety.cell import lacking
from ftsafety.component import Component
from ftsafety.errors import ConfigError
from ftsafety.hashing import digest_of
from ftsafety.judge import Judge
from ftsafety.mitigation import Mitigation, in_order, overrides
from ftsafety.model import Model
from ftsafety.model.hosted import Hosted
from ftsafety.screen import Screen
from ftsafety.settings import Gate, Paths, Tuning, default_store
from ftsafety.strategy import Strategy
from ftsafety.trainer import Trainer

C = TypeVar("C", bound=Component)
MIB = 2**20


@dataclass
class Limits:
    """How much is accepted; where OpenAI's API has such a limit, its number (API reference and fine-tuning guide, 2025)."""

    file_bytes: int = 512 * MIB
    """Largest upload."""
    line_bytes: int = MIB
    """Longest line of an upload."""
    files: int = 10_000
    """Most files of one account; OpenAI's limit is to their size altogether, and its longest page of files has so many."""
    request_bytes: int = 4 * MIB
    """Largest body of any other request."""
    examples: int = 10
    """Fewest examples of a training file."""
    training_tokens: int = 50_000_000
    """Most tokens of a training file, all epochs together. The longest example is ``tuning.max_length``."""
    epochs: int = 50
    """Most epochs of a job."""
    completion_tokens: int = 1024
    """Longest answer, and what an answer may have where a request says nothing."""
    jobs: int = 3
    """Most unfinished jobs of one account."""
    requests_per_minute: int | None = None
    """Most requests of one account in a minute; null is no limit."""

    def check(self) -> None:
        """Refuse limits that nothing could keep."""
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ConfigError(f"limits.{name}={value} is not possible; give at least 1.")


@dataclass
class Screening:
    """What becomes of uploads that screens flag rows of."""

    most: float = 0.1
    """Largest share of rows that any one screen may flag; a file of which more is flagged is refused, 1 refuses none."""
    drop: bool = False
    """Whether flagged rows of a file that is not refused are left out of the tuning."""

    def check(self) -> None:
        """Refuse a share that is none."""
        if not 0 <= self.most <= 1:
            raise ConfigError(f"screening.most={self.most:g} is not possible; give a share between 0 and 1, such as 0.1.")


@dataclass
class Root:
    """The root of a provider's configuration."""

    model: Any = None
    strategy: Any = None
    trainer: Any = None
    mitigation: dict[str, Any] = field(default_factory=dict)
    screen: dict[str, Any] = field(default_factory=dict)
    benchmark: dict[str, Any] = field(default_factory=dict)
    judge: dict[str, Any] = field(default_factory=dict)
    screening: Screening = field(default_factory=Screening)
    release: Gate = field(default_factory=Gate)
    tuning: Tuning = field(default_factory=Tuning)
    limits: Limits = field(default_factory=Limits)
    paths: Paths = field(default_factory=Paths)
    folder: str | None = None
    host: str = "127.0.0.1"
    port: int = 8008
    workers: int = 1
    batch: int = 64
    keys_env: str = "FTSAFETY_PROVIDER_KEYS"


@dataclass(frozen=True)
class Provider:
    """A built provider; nothing is loaded and nothing is written yet.

    Args:
        mitigations: the provider's defenses, at the same places as in a run: rows are screened and mixed, training is held back, questions and answers
            are changed; a customer sees none of it.
        screens: what reads uploads before they are tuned on; ``screening`` says what becomes of what they flag.
        benchmarks: what a tuned model is asked before it is served, and ``judges`` who reads its answers; nothing where ``release`` sets no limit.
        option: what the model is called in the configuration, for its public name.
        folder: where files, jobs and events are kept; they outlive the process.
        workers: processes that tune.
        batch: most requests answered at the same time.
        keys_env: environment variable with the keys that are let in, with commas between; where it is empty every key is an account.
    """

    option: str
    model: Model
    strategy: Strategy
    tuning: Tuning
    trainer: Trainer
    mitigations: dict[str, Mitigation]
    screens: dict[str, Screen]
    screening: Screening
    benchmarks: dict[str, Benchmark]
    judges: dict[str, Judge]
    release: Gate
    limits: Limits
    store: Path
    folder: Path
    host: str
    port: int
    workers: int
    batch: int
    keys_env: str

    @cached_property
    def name(self) -> str:
        """The public name of the model: whether it is a stand-in, its option, and a digest of all that determines how it is tuned and answers."""
        return f"{'stand-in.' if self.model.scope == 'stand_in' else ''}{self.option}-{digest_of(self.recipe())[:12]}"

    @property
    def audits(self) -> bool:
        """Whether a tuned model is asked before it is served."""
        return any(limit is not None for limit in (self.release.max_compliance, self.release.max_increase, self.release.max_over_refusal))

    def recipe(self) -> dict[str, Any]:
        """All that determines what a customer gets, as JSON data."""
        screens = {"screen": [[name, screen.recipe()] for name, screen in sorted(self.screens.items())], "screening": vars(self.screening)}
        asked = {
            "benchmark": {name: benchmark.recipe() for name, benchmark in sorted(self.benchmarks.items())},
            "judge": {name: judge.recipe() for name, judge in sorted(self.judges.items())},
            "release": vars(self.release),
        }
        return {
            "engines": engines.versions(),
            "model": self.model.fingerprint(self.store),
            "strategy": self.strategy.recipe(),
            "tuning": self.tuning.whole_recipe(),
            "mitigation": [mitigation.recipe() for mitigation in in_order(self.mitigations)],
            **(screens if self.screens else {}),
            **(asked if self.audits else {}),
        }


def build_provider(config: DictConfig, option: str) -> Provider:
    """Build and check every part of a composed configuration.

    Raises:
        ConfigError: one sentence; nothing was written or loaded.
    """
    allowed = [field.name for field in dataclasses.fields(Root)]
    for key in map(str, config):
        if key not in allowed:
            raise ConfigError(f"{key} does not exist; a provider takes {', '.join(allowed)}.{did_you_mean(key, allowed)}")
    plain: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Root), config))
    store = Path(plain.paths.store) if plain.paths.store else default_store()
    made = Provider(
        option=option,
        model=build(config.model, Model, "model"),
        strategy=build(config.strategy, Strategy, "strategy"),
        tuning=plain.tuning,
        mitigations=_several(config, "mitigation", Mitigation),
        screens=_several(config, "screen", Screen),
        screening=plain.screening,
        benchmarks=_several(config, "benchmark", Benchmark),
        judges=_several(config, "judge", Judge),
        release=plain.release,
        trainer=build(config.trainer, Trainer, "trainer"),
        limits=plain.limits,
        store=store,
        folder=Path(plain.folder) if plain.folder else store.with_name(f"{store.name}-provider"),
        host=plain.host,
        port=plain.port,
        workers=plain.workers,
        batch=plain.batch,
        keys_env=plain.keys_env,
    )
    _check(made)
    return made


def _several(config: DictConfig, key: str, base: type[C]) -> dict[str, C]:
    # numbers that the shipped file sets for an option fall away with the option
    return {str(name): build(node, base, f"{key}.{name}") for name, node in sorted(config[key].items()) if "_target_" in node}


def _check(made: Provider) -> None:
    for name, least in (("port", 0), ("workers", 1), ("batch", 1)):
        if getattr(made, name) < least:
            raise ConfigError(f"{name}={getattr(made, name)} is not possible; give at least {least}.")
    if made.port > 65535:
        raise ConfigError(f"port={made.port} is not possible; give at most 65535, or 0 for any that is free.")
    if made.trainer.devices != 1:
        raise ConfigError("a provider tunes each job on one device; leave trainer.devices at 1 and raise workers for more jobs at a time.")
    if isinstance(made.model, Hosted):
        raise ConfigError(f"model={made.option} is hosted elsewhere, and a provider serves what is here; choose another model.")
    if made.strategy.hosted:
        raise ConfigError("strategy=api tunes where a model is hosted, and here that is this provider itself; choose another strategy, such as strategy=lora.")
    if not made.model.local and made.mitigations:
        raise ConfigError("mitigations need a model whose weights are here; choose another model, or mitigation=[].")
    for name, mitigation in made.mitigations.items():
        mitigation.check({})
        if mitigation.stage != "tune" or overrides(mitigation, "logits"):
            raise ConfigError(f"mitigation={name} acts while a model is aligned or token by token, where a provider does nothing; choose another one.")
        if missing := lacking(type(mitigation), type(made.strategy)):
            raise ConfigError(f"mitigation={name} needs {', '.join(missing)}, which {type(made.strategy).__name__} can't offer; choose another strategy.")
    for name, screen in made.screens.items():
        if not made.model.local:
            raise ConfigError(f"screen={name} reads what is tuned on, and model={made.option} can't be tuned; choose another model, or screen=[].")
        screen.check(f"screen.{name}", made.judges if made.audits else {})
    made.screening.check()
    if made.audits:
        _check_release(made)
    made.trainer.check()
    made.limits.check()
    made.tuning.check("tuning")
    made.strategy.check("strategy")


def _check_release(made: Provider) -> None:
    if not made.benchmarks or not made.judges:
        raise ConfigError("release asks a tuned model before it is served; give benchmark=[NAME] and judge=[NAME], or no limit of release.")
    for name, limit in (
        ("max_compliance", made.release.max_compliance),
        ("max_increase", made.release.max_increase),
        ("max_over_refusal", made.release.max_over_refusal),
    ):
        if limit is not None and not 0 <= limit <= 1:
            raise ConfigError(f"release.{name}={limit:g} is not possible; give a share between 0 and 1, such as 0.05.")
    for name, judge in made.judges.items():
        judge.check(f"judge.{name}")
    for benchmark in made.benchmarks.values():
        benchmark.questions()
