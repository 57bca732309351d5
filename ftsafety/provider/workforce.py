"""The processes that do a server's jobs: started with it, started again when one dies, stopped with it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

LOOK_SECONDS = 0.2
BACKOFF_SECONDS = 30.0
"""Longest wait before a worker that died at once is started again."""
STOP_SECONDS = 10.0
LOG = "worker.log"


class Workforce:
    """``count`` workers on a provider's folder, for the time of the ``with``."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._keep, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Workforce:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _keep(self, number: int) -> None:
        """Keep one worker running."""
        wait = LOOK_SECONDS
        with (self.folder / LOG).open("ab") as log:
            while not self._stopped.is_set():
                command = [sys.executable, "-m", "ftsafety.provider.worker", str(self.folder)]
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                self.processes[number] = process
                looks = 0
                while process.poll() is None and not self._stopped.wait(LOOK_SECONDS):
                    looks += 1
                if self._stopped.is_set():
                    _stop(process)
                    return
                # one that dies as soon as it is there would otherwise keep a core busy
                wait = LOOK_SECONDS if looks * LOOK_SECONDS > BACKOFF_SECONDS else min(2 * wait, BACKOFF_SECONDS)
                self._stopped.wait(wait)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
