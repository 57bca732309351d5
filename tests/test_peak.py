"""Peak memory: what is taken and given back again is in it, and a system that does not tell it is no error."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
import torch

from ftsafety import peak as module
from ftsafety.peak import peak

MIB = 2**20


@pytest.mark.skipif(torch.cuda.is_available(), reason="on an accelerator its own memory is told")
def test_what_was_given_back_is_in_the_peak_and_what_was_before_is_not() -> None:
    first = peak()
    # memory of its own, which goes back to the system at once whatever the allocator keeps
    with mmap.mmap(-1, 64 * MIB) as large:
        large.write(b"\x01" * len(large))
    told = first()
    if told is None:
        pytest.skip("this system does not tell a process's peak")
    again = peak()()
    assert again is not None and told - again > 40


@pytest.mark.skipif(torch.cuda.is_available(), reason="on an accelerator its own memory is told")
def test_a_system_that_does_not_tell_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLEAR", tmp_path / "none" / "clear_refs")
    assert peak()() is None
