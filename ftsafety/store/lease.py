"""Leases: who computes an artifact right now. They only save work; publishing is safe without them.

A lease is a file made with ``O_CREAT | O_EXCL``; its holder raises a counter every ten seconds. It is stale when the counter has
not moved for 180 s of the *reader's* own clock (clocks of machines are never compared), or at once when its holder was a
process of this same boot that no longer runs. One that stays unreadable was left by a process that died while writing it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 180.0
TORN_SECONDS = 2.0
"""Writing a lease takes far less; one without a readable holder for so long has none."""


@contextmanager
def lease(path: Path, done: Callable[[], bool], on_wait: Callable[[str], None] = lambda who: None, poll_seconds: float = 1.0) -> Iterator[bool]:
    """Hold the lease at ``path``, waiting for another holder.

    Yields:
        True when held; False when ``done()`` became true while waiting, so that there is nothing left to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = identity()
    watched = _Watch()
    while not _take(path, mine):
        if done():
            yield False
            return
        holder = _read(path)
        if holder is None or _dead(holder) or watched.stale(holder):
            _break(path, holder)
            continue
        on_wait(f"process {holder.get('pid')} on {holder.get('host')}")
        time.sleep(poll_seconds)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, mine, stop), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        stop.set()
        beat.join()
        holder = _read(path)
        if holder and holder["token"] == mine["token"]:
            path.unlink(missing_ok=True)


def is_live(path: Path) -> bool:
    """Whether there is a lease whose holder may still run; on another machine nobody can tell, so it may."""
    holder = _read(path)
    return holder is not None and not _dead(holder)


def identity() -> dict[str, Any]:
    """This process as a lease's holder, which ``is_live`` can tell from a dead one."""
    return {"token": uuid.uuid4().hex, "host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "start": _process_start(os.getpid()), "counter": 0}


def _take(path: Path, mine: dict[str, Any]) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        json.dump(mine, file)
    return True


def _read(path: Path) -> dict[str, Any] | None:
    """The holder; an empty dictionary for a lease being written or torn, None when there is none."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _dead(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this boot that is gone."""
    return bool(holder) and holder["boot"] == _boot_id() and _process_start(holder["pid"]) != holder["start"]


def _break(path: Path, holder: dict[str, Any] | None) -> None:
    """Remove a stale lease: rename it to a name of our own first, so that only one process removes it."""
    if holder is None:
        return
    grave = path.with_name(f".{path.name}.{uuid.uuid4().hex}.stale")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    taken = _read(grave)
    if taken and taken["token"] != holder.get("token") and not path.exists():
        # another process broke the stale lease and took a new one between our look and our rename: give it back
        grave.rename(path)
        return
    grave.unlink(missing_ok=True)


class _Watch:
    """Remembers when a counter last moved, on this process's own clock."""

    def __init__(self) -> None:
        self.seen: tuple[Any, Any] | None = None
        self.since = time.monotonic()

    def stale(self, holder: dict[str, Any]) -> bool:
        now = (holder.get("token"), holder.get("counter"))
        if now != self.seen:
            self.seen, self.since = now, time.monotonic()
        return time.monotonic() - self.since > (STALE_SECONDS if holder else TORN_SECONDS)


def _beat(path: Path, mine: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        holder = _read(path)
        if not holder or holder["token"] != mine["token"]:
            return
        mine["counter"] += 1
        temporary = path.with_name(f".{path.name}.{mine['token']}.beat")
        temporary.write_text(json.dumps(mine))
        temporary.replace(path)


def _boot_id() -> str:
    """This boot, and the process numbers that are ours: containers share a boot, and number their processes on their own."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{socket.gethostname()}-without-boot-id"


def _process_start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when it does not run. Without /proc: whether it runs at all."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
