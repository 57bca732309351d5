"""How much memory something took at most: of the accelerator where it ran on one, else of the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PEAK_OF_PROCESS = "5"
"""What resets a process's highest resident set size (Linux, proc(5))."""
MIB = 2**20


def peak() -> Callable[[], float | None]:
    """Start to watch; what comes back tells the peak since then in MiB, None where the system does not tell it."""
    import torch

    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    known = _reset()

    def told() -> float | None:
        on_device = max((torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count())), default=0) if torch.cuda.is_available() else 0
        return round(on_device / MIB, 1) if on_device else _highest() if known else None

    return told


def _reset() -> bool:
    try:
        CLEAR.write_text(PEAK_OF_PROCESS)
    except OSError:
        return False
    return True


def _highest() -> float | None:
    """The highest resident set size, in MiB."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return round(int(kib) / 1024, 1) if kib else None
