"""Digests: of data, of files, of folders. SHA-256 in hex, over canonical JSON where data is hashed."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces; raises TypeError on what JSON can't hold, so that no key is silently vague."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(data: Any) -> str:
    """Digest of JSON data."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_path(path: Path) -> str:
    """Digest of a file, or of a folder's relative names and bytes; remembered while size and time stay the same."""
    if path.is_file():
        status = path.stat()
        return _remembered(path, status.st_size, status.st_mtime_ns)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    return digest_of([[item.relative_to(path).as_posix(), digest_of_path(item)] for item in files])


@cache
def _remembered(path: Path, size: int, time_ns: int) -> str:
    return digest_of_file(path)
