"""What a run tells its logger: curves while it tunes, and what came of it when it is done. Without a logger it tells nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ftsafety.curve import Step, of_record, points
from ftsafety.errors import FtsafetyError
from ftsafety.hashing import canonical, digest_of_file
from ftsafety.logger.base import About, Logger
from ftsafety.logger.telling import numbers, readings, tables, weights
from ftsafety.progress import say
from ftsafety.store.publish import publish_text
from ftsafety.store.secrets import refuse_secrets

FILE = "logged.json"
"""In a run's folder: by logger, the digest of the record that it was told of."""


class Notebook:
    """One run's logger, open from ``begin`` to the end of the ``with``. What goes wrong with it is said once and stops no run."""

    def __init__(self, logger: Logger | None = None) -> None:
        self.logger = logger
        self._lightning: Any = None
        self._told: dict[str, int] = {}
        """By curve, the last step told."""
        self._whole = False

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *_: object) -> None:
        self._try(lambda logger: logger.end(self._lightning, self._whole))
        self._lightning = None

    def begin(self, about: About) -> None:
        """Begin the run's page, or take it up again.

        Raises:
            FtsafetyError: the configuration holds a secret, or the service can't be used; nothing has been computed yet.
        """
        if self.logger is None:
            return
        refuse_secrets([about.config, vars(self.logger)])
        self._lightning = self.logger.start(about)
        self._try(lambda logger: self._told.update(logger.known(self._lightning)))
        self._try(lambda logger: logger.config(self._lightning, {"cell": about.cell, "seed": about.seed, **about.config}))

    def follow(self, name: str, curve: Sequence[Step]) -> None:
        """Tell what is new of a curve that grows."""
        if self._lightning is not None:
            start = self._told.get(name, 0)
            self.tell(name, ((at, asdict(step)) for at, step in enumerate(curve[start:], start + 1)))

    def record(self, folder: Path) -> None:
        """Tell what came of a finished run, and the curves of tunings that the store had already."""
        if self.logger is None:
            return
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        last = 0
        for name, kept in of_record(data["stages"]).items():
            self.tell(name, points(kept))
            last = max(last, *kept["step"])
        self.tell("probe", readings(data))
        self._try(lambda logger: logger.numbers(self._lightning, numbers(data), last))
        for title, columns, rows in tables(folder, data):
            self._try(lambda logger, table=(title, columns, rows): logger.table(self._lightning, *table))  # type: ignore[misc]
        for label, digest in weights(data).items():
            self._try(lambda logger, one=(label, digest): logger.weights(self._lightning, *one))  # type: ignore[misc]
        if self._lightning is not None:
            self._whole = True
            self._note(folder)

    def again(self, about: About) -> None:
        """Tell of a run that was finished before, unless this logger was told of this very record."""
        if self.logger and _noted(about.folder).get(_name(self.logger)) != digest_of_file(about.folder / "run.json"):
            self.begin(about)
            self.record(about.folder)

    def tell(self, name: str, steps: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Tell numbers by optimiser step, of steps that were not told before."""
        for step, values in steps:
            if step <= self._told.get(name, -1):
                continue
            known = {key: value for key, value in values.items() if value is not None}
            self._try(lambda logger, one=(step, known): logger.step(self._lightning, name, *one))  # type: ignore[misc]
            self._told[name] = step

    def _note(self, folder: Path) -> None:
        if self.logger:
            told = {**_noted(folder), _name(self.logger): digest_of_file(folder / "run.json")}
            publish_text(folder / FILE, json.dumps(told, indent=1) + "\n")

    def _try(self, tell: Callable[[Logger], None]) -> None:
        """A service that fails in the middle must not stop what is computed, whatever its library raises."""
        if self.logger is None or self._lightning is None:
            return
        try:
            tell(self.logger)
        except FtsafetyError:
            raise
        except Exception as error:
            say(f"logger={type(self.logger).__name__.lower()} failed and is told no more of this run: {type(error).__name__}: {str(error)[:200]}")
            self._lightning = None


def _name(logger: Logger) -> str:
    return f"{type(logger).__name__} {canonical(vars(logger))}"


def _noted(folder: Path) -> dict[str, str]:
    file = folder / FILE
    noted: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return noted
