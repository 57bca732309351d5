"""Leases: who waits, for how long, and whose lease is broken."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ftsafety.store import lease as lease_module
from ftsafety.store.lease import is_live, lease

FAR_AWAY = {"token": "t", "host": "elsewhere", "boot": "another boot", "pid": 1, "start": "1", "counter": 0}
LONG_AGO = 946684800


def hold(path: Path, **changes: Any) -> Path:
    """A lease file, old by its time stamp."""
    path.write_text(json.dumps({**FAR_AWAY, **changes}))
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def here(**changes: Any) -> dict[str, Any]:
    """A holder of this boot."""
    return {"host": socket.gethostname(), "boot": lease_module._boot_id(), **changes}


def take(path: Path, patience: float = 5.0) -> tuple[bool, float, list[str]]:
    """Whether we came to hold the lease within our patience, after how many seconds, and whom we waited for."""
    started, seen = time.monotonic(), []
    with lease(path, lambda: time.monotonic() - started > patience, seen.append, poll_seconds=0.02) as held:
        return held, time.monotonic() - started, seen


def test_a_lease_is_held_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "leases" / "egg"
    with lease(path, lambda: False) as held:
        assert held and is_live(path)
        assert json.loads(path.read_text())["pid"] == os.getpid()
        assert take(path, patience=0.1)[0] is False
    assert not path.exists() and not is_live(path)


def test_a_lease_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lease(tmp_path / "egg", lambda: False):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_the_heartbeat_raises_the_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    with lease(tmp_path / "egg", lambda: False):
        deadline = time.monotonic() + 5
        while json.loads((tmp_path / "egg").read_text())["counter"] < 3:
            assert time.monotonic() < deadline
    assert not list(tmp_path.iterdir())


def test_a_dead_process_of_this_boot_is_taken_over_at_once(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    start = lease_module._process_start(child.pid)
    child.wait()
    held, seconds, seen = take(hold(tmp_path / "egg", **here(pid=child.pid, start=start)))
    assert held and seconds < 1 and seen == []


def test_a_number_given_to_another_process_is_a_dead_one(tmp_path: Path) -> None:
    held, seconds, seen = take(hold(tmp_path / "egg", **here(pid=os.getpid(), start="1")))
    assert held and seconds < 1 and seen == []


def test_a_living_process_is_waited_for_however_old_its_lease_looks(tmp_path: Path) -> None:
    mine = here(pid=os.getpid(), start=lease_module._process_start(os.getpid()))
    held, _, seen = take(hold(tmp_path / "egg", **mine), patience=0.2)
    assert not held and seen[0] == f"process {os.getpid()} on {socket.gethostname()}"
    assert is_live(tmp_path / "egg")


def test_a_counter_that_stands_still_is_taken_over_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "STALE_SECONDS", 0.3)
    held, seconds, seen = take(hold(tmp_path / "egg"))
    assert held and 0.3 <= seconds < 2 and seen[0] == "process 1 on elsewhere"
    assert not list(tmp_path.iterdir())


def test_a_counter_that_moves_is_never_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "STALE_SECONDS", 0.3)
    path, stop = hold(tmp_path / "egg"), threading.Event()

    def beat() -> None:
        for counter in range(1, 1000):
            if stop.wait(0.05):
                return
            hold(tmp_path / "new", counter=counter).replace(path)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        assert take(path, patience=1.0)[0] is False
    finally:
        stop.set()
        beating.join()


@pytest.mark.parametrize("text", ["", '{"token": "t", "ho'])
def test_a_torn_lease_is_taken_over_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A process may die between making the file and writing into it; nobody waits three minutes for that."""
    monkeypatch.setattr(lease_module, "TORN_SECONDS", 0.2)
    (tmp_path / "egg").write_text(text)
    held, seconds, _ = take(tmp_path / "egg")
    assert held and 0.2 <= seconds < 2


def test_a_lease_that_another_took_meanwhile_is_put_back(tmp_path: Path) -> None:
    """Two find a stale lease; the slower one's rename hits the faster one's new lease."""
    for seen in ({}, {**FAR_AWAY, "token": "old"}):
        path = hold(tmp_path / "egg", token="new")
        lease_module._break(path, seen)
        assert json.loads(path.read_text())["token"] == "new" and list(tmp_path.iterdir()) == [path]


def test_a_lease_that_was_taken_away_is_left_to_its_new_holder(tmp_path: Path) -> None:
    with lease(tmp_path / "egg", lambda: False):
        hold(tmp_path / "egg")
    assert json.loads((tmp_path / "egg").read_text()) == FAR_AWAY
