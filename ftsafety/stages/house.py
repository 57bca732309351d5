"""Where a run lives: its store, its loaded weights, and the record of what each stage did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ftsafety.curve import name_of
from ftsafety.errors import FtsafetyError
from ftsafety.logger.notebook import Notebook
from ftsafety.progress import say
from ftsafety.ranks import Joined, Ranks
from ftsafety.store import Artifact, Store
from ftsafety.store.store import this_platform
from ftsafety.weights import Loader

Compute = Callable[[Path, Path], dict[str, Any]]


@dataclass
class House:
    """Where a run lives: the store, the loaded weights, and what each stage did."""

    store: Store
    loader: Loader
    stages: list[dict[str, Any]] = field(default_factory=list)
    ranks: Ranks = field(default_factory=Ranks)
    notebook: Notebook = field(default_factory=Notebook)

    @classmethod
    def at(cls, folder: Path, same_platform: bool = False, ranks: Ranks | None = None, notebook: Notebook | None = None) -> House:
        """A house on a store folder."""
        return cls(Store(folder, same_platform), Loader(folder), ranks=ranks or Ranks(), notebook=notebook or Notebook())

    def entry(self, key: str) -> dict[str, Any]:
        """What is remembered of a stage that was made, for the run's record."""
        return next(entry for entry in self.stages if entry["key"] == key)

    def name_of(self, kind: str) -> str:
        """What the next stage of a kind is called where its curve is told."""
        return name_of(kind, sum(entry["stage"] == kind for entry in self.stages))

    def make(self, stage: str, recipe: dict[str, Any], compute: Compute, label: str) -> Artifact:
        """The artifact of a recipe, found in the store or computed there, and remembered once for the run's record."""
        if self.ranks.joins:
            artifact = self._as_helper(stage, recipe, compute)
        else:
            artifact = self.store.make(stage, recipe, compute, waiting(stage))
        if not any(entry["key"] == artifact.key for entry in self.stages):
            done: dict[str, Any] = {"key": artifact.key, "digest": artifact.digest, "reused": artifact.reused, "seconds": artifact.seconds}
            if (made_on := artifact.manifest.get("platform", this_platform())) != this_platform():
                done["platform"] = made_on
            self.stages.append({"stage": stage, "label": label, **done, **artifact.info})
        return artifact

    def _as_helper(self, stage: str, recipe: dict[str, Any], compute: Compute) -> Artifact:
        """What a helper does at a stage: join the one it has come for, and find every other in the store."""
        key = self.store.key(recipe)
        if key == self.ranks.joins:
            if self.ranks.ready:
                self.ranks.ready.touch()
            with TemporaryDirectory() as folder:
                compute(Path(folder), self.store.folder / "partial" / f"{stage}-{key}")
            raise Joined
        if found := self.store.get(stage, recipe):
            return found
        raise FtsafetyError(f"the store holds no {stage} {key}, which the leading process should have made; is paths.store the same for both?")


def waiting(stage: str) -> Callable[[str], None]:
    """Tells once who is computing what this process waits for."""
    told: list[str] = []

    def tell(who: str) -> None:
        if not told:
            told.append(who)
            say(f"{stage}: {who} is computing it; waiting for its result")

    return tell
