"""Atomic publishing: write under a temporary name beside the target, then rename. Whoever loses the race adopts the winner's."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

Fault = Callable[[str], None]


def no_fault(point: str) -> None:
    """Tests put something deadly here; see ``set_fault``."""


_fault: Fault = no_fault


def set_fault(fault: Fault) -> None:
    """Call ``fault(point)`` before and after each rename and halfway through stages, so that tests can inject death."""
    global _fault
    _fault = fault


def fault_point(point: str) -> None:
    """A place where a process may die without harm."""
    _fault(point)


def publish_folder(target: Path, write: Callable[[Path], None]) -> bool:
    """Make a folder all at once: ``write`` fills a temporary one, which is renamed to ``target``.

    Returns:
        False when another process published it first; its folder is kept and ours is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.new"
    temporary.mkdir()
    try:
        write(temporary)
        fault_point(f"before rename {target.parent.name}")
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            return False
        fault_point(f"after rename {target.parent.name}")
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_text(target: Path, text: str) -> None:
    """Write a text file all at once."""
    publish_bytes(target, text.encode("utf-8"))


def publish_bytes(target: Path, content: bytes) -> None:
    """Write a file all at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.new"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fault_point(f"before rename {target.name}")
        temporary.replace(target)
        fault_point(f"after rename {target.name}")
    finally:
        temporary.unlink(missing_ok=True)


def publish_json(target: Path, data: Any) -> None:
    """Write JSON all at once, indented, keys in the order given."""
    publish_text(target, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
