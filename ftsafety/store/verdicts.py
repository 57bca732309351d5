"""Verdicts by question, answer and judge: each process appends to a file of its own, readers merge them, the first one wins."""

from __future__ import annotations

import json
import os
import uuid
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
            self._verdicts.setdefault(data["key"], Verdict(data["value"], data["flags"]))

    def __contains__(self, key: str) -> bool:
        return key in self._verdicts

    def __getitem__(self, key: str) -> Verdict:
        return self._verdicts[key]

    def add(self, verdicts: dict[str, Verdict]) -> None:
        """Write verdicts to a shard of this process, flushed line by line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl").open("w", encoding="utf-8") as file:
            for at, (key, verdict) in enumerate(verdicts.items()):
                file.write(json.dumps({"key": key, "value": verdict.value, "flags": verdict.flags}) + "\n")
                file.flush()
                if at == len(verdicts) // 2:
                    fault_point("halfway through judge")
                self._verdicts.setdefault(key, verdict)
