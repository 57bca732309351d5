"""What was ever spent at a service from one store, so that a budget outlives a killed run."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPENDING = "spending"


class Spending:
    """The spendings under one name: each process appends to a file of its own, before the next dollar is spent."""

    def __init__(self, store: Path, name: str) -> None:
        self.folder = store / SPENDING / name
        self._file = self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"

    def add(self, usd: float | None, what: str) -> None:
        """Write a spending down; None is a price that nobody knows, and free is nothing to write."""
        if not usd:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"usd": usd, "for": what}) + "\n")

    def add_once(self, usd: float | None, what: str) -> None:
        """Write a spending down unless it was before, by a process that died then."""
        if not any(spent["for"] == what for spent in self._all()):
            self.add(usd, what)

    @property
    def usd(self) -> float:
        """All of it, of every process."""
        return float(sum(spent["usd"] for spent in self._all()))

    def _all(self) -> Iterator[dict[str, Any]]:
        for file in sorted(self.folder.glob("*.jsonl")):
            # what comes after the last end of a line was torn by a dying process
            yield from map(json.loads, file.read_bytes().split(b"\n")[:-1])
