"""Where a run's curves and results are told besides its own record. Never part of what a run is: nothing that is computed depends on it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ftsafety.component import Component
from ftsafety.errors import ConfigError

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class About:
    """The run that is told of: its cell and seed, its folder, and what else it is as JSON data."""

    cell: str
    seed: int
    folder: Path
    config: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The run's name everywhere and for ever, so that what is taken up again goes on in the same place."""
        return f"{self.cell}-{self.seed}"

    @property
    def title(self) -> str:
        """What people read: the folder's two names."""
        return f"{self.folder.parent.name}/{self.folder.name}"


class Logger(Component):
    """Begins one of Lightning's loggers for a run, and knows what that service can hold. Every method gets what ``start`` has returned."""

    module: ClassVar[str]
    """The module that has to be installed."""
    extra: ClassVar[str]
    """What to type after ``pip install`` where it is not."""

    def check(self) -> None:
        """Refuse a logger whose library is not there, before anything is spent."""
        if find_spec(self.module) is None:
            raise ConfigError(f"logger={type(self).__name__.lower()} needs {self.module}, which is not installed; type pip install {self.extra}.")

    @abstractmethod
    def start(self, about: About) -> Any:
        """Lightning's logger for this run, begun, or taken up where an earlier process left it.

        Raises:
            FtsafetyError: the service can't be reached, or knows no key.
        """

    def known(self, lightning: Any) -> dict[str, int]:
        """By curve, the last step that the service holds already from an earlier process."""
        return {}

    def config(self, lightning: Any, config: Mapping[str, Any]) -> None:
        """The run's configuration."""
        lightning.log_hyperparams(dict(config))

    def step(self, lightning: Any, curve: str, step: int, values: Mapping[str, float]) -> None:
        """One optimiser step of a tuning (from 1; from 0 of what is read before any); the curve's name goes before each value's."""
        lightning.log_metrics({f"{curve}/{name}": value for name, value in values.items()}, step=step)

    def numbers(self, lightning: Any, numbers: Mapping[str, float], last: int) -> None:
        """What came of the run; ``last`` is its last optimiser step."""
        lightning.log_metrics(dict(numbers), step=last)

    @abstractmethod
    def table(self, lightning: Any, name: str, columns: Sequence[str], rows: Rows) -> None:
        """A table of what came of the run."""

    def weights(self, lightning: Any, name: str, digest: str) -> None:
        """Weights by name and digest; they themselves stay in the store."""

    def end(self, lightning: Any, whole: bool) -> None:
        """Close it; ``whole`` is whether the run is done."""
        lightning.finalize("success" if whole else "failed")


def as_csv(columns: Sequence[str], rows: Rows) -> str:
    """A table as CSV text with a heading."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    return text.getvalue()
