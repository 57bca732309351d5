"""Verdicts by question, answer and judge: each process appends to a file of its own, readers merge them, the first one wins."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ftsafety.errors import StoreError
from ftsafety.hashing import digest_of
from ftsafety.judge import Judge, Verdict
from ftsafety.store.publish import fault_point

VERDICTS = "verdicts"


def book_of(judge: Judge) -> str:
    """The name of a judge's book: a digest of all that determines its verdicts."""
    return digest_of(judge.recipe())[:40]


def books_of(judges: Iterable[Judge]) -> Iterator[str]:
    """The names of all books that judges and their members have."""
    for judge in judges:
        members = judge.members()
        yield from books_of(members.values()) if members else [book_of(judge)]


class VerdictBook:
    """All verdicts of one judge in a store."""

    def __init__(self, store: Path, judge: Judge) -> None:
        self.folder = store / VERDICTS / book_of(judge)
        self._verdicts: dict[str, Verdict] = {}
        for shard in sorted(self.folder.glob("*.jsonl")):
            self._read(shard)

    def _read(self, shard: Path) -> None:
        lines = shard.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                data: dict[str, Any] = json.loads(line)
            except ValueError as error:
                # a process that died while writing leaves a torn last line, without its end
                if number == len(lines):
                    continue
                raise StoreError(f"{shard}:{number} is damaged; delete that file and run the same command again.") from error
            self._verdicts.setdefault(data["key"], Verdict(data["value"], data["flags"], data.get("said", "")))

    def keys(self) -> set[str]:
        """The keys of all verdicts."""
        return set(self._verdicts)

    def __contains__(self, key: str) -> bool:
        return key in self._verdicts

    def __getitem__(self, key: str) -> Verdict:
        return self._verdicts[key]

    @property
    def usd(self) -> float:
        """What all verdicts in the book have cost, in dollars; those without a price count nothing."""
        return float(sum(verdict.flags.get("usd", 0.0) for verdict in self._verdicts.values()))

    def add(self, verdicts: Mapping[str, Verdict]) -> None:
        """Write verdicts to a shard of this process, flushed line by line."""
        for _ in self.keep(verdicts.items(), len(verdicts)):
            pass

    def keep(self, verdicts: Iterable[tuple[str, Verdict]], count: int) -> Iterator[Verdict]:
        """Write each verdict to a shard of this process before the next one is taken, and hand it on; ``count`` are expected."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl").open("w", encoding="utf-8") as file:
            for at, (key, verdict) in enumerate(verdicts):
                said = {"said": verdict.said} if verdict.said else {}
                file.write(json.dumps({"key": key, "value": verdict.value, "flags": verdict.flags, **said}) + "\n")
                file.flush()
                if at == count // 2:
                    fault_point("halfway through judge")
                self._verdicts.setdefault(key, verdict)
                yield verdict
