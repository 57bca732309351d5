"""The allocator is told to keep memory, where there is one that can be told."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from ftsafety.heap import keep_freed_memory

PAGES = 64 * 2**20 // 4096
needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library")


@needs_glibc
def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    """In a process of its own, since the setting stays: what a large block took stays mapped after it was freed."""
    code = """
import resource
from ftsafety.heap import keep_freed_memory
def faults(times, size=64 * 2**20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        block = bytearray(size)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(keep_freed_memory())
faults(1)
print(faults(3))
"""
    told, faults = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == "True"
    assert int(faults) < PAGES / 10


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
