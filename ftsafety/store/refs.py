"""References: which artifacts and verdicts a run folder stands on, so that ``prune`` finds those that nobody needs.

``store/refs/<digest of the run folder's path>-<cell>-<seed>.json`` holds that path and the (kind, key) pairs; it counts for as long as the folder is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ftsafety.errors import StoreError
from ftsafety.hashing import digest_of
from ftsafety.judge import Judge
from ftsafety.store.publish import publish_json
from ftsafety.store.store import Store
from ftsafety.store.verdicts import VERDICTS, books_of

REFS = "refs"
Name = tuple[str, str]


def refer(store: Store, folder: Path, cell: str, seed: int, judges: Iterable[Judge]) -> Path:
    """Write down what the run in ``folder`` stands on: every artifact that the store gave it, and its judges' verdicts."""
    home = folder.resolve()
    used = sorted(store.used | {(VERDICTS, book) for book in books_of(judges)})
    file = store.folder / REFS / f"{digest_of(str(home))[:12]}-{cell}-{seed}.json"
    publish_json(file, {"folder": str(home), "used": [list(name) for name in used]})
    return file


def read_refs(store: Path) -> tuple[set[Name], list[Path]]:
    """What existing run folders stand on, and the references whose run folder is gone.

    Raises:
        StoreError: a reference that can't be read; what it stands for might be needed.
    """
    used: set[Name] = set()
    gone: list[Path] = []
    for file in sorted((store / REFS).glob("[!.]*.json")):
        try:
            data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            home, names = Path(data["folder"]), {(str(kind), str(key)) for kind, key in data["used"]}
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file} is damaged, so nobody knows what its run needs; delete it if that run folder is gone, or run its command again."
            ) from error
        if home.is_dir():
            used |= names
        else:
            gone.append(file)
    return used, gone
