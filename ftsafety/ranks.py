"""The other processes of a tuning on several devices.

The leader runs the line as ever. For the tuning alone it starts helpers, each with the same composed configuration: a helper goes
through the same line, finds every earlier stage in the store, joins that one tuning and ends. So a stage stays a function
of its inputs, sweeps and controls need nothing special, and only the leader publishes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.trainer import Trainer

DYING_SECONDS = 5.0
SHOWN = 400
"""Characters of a helper's last words in a message."""


class Joined(BaseException):
    """A helper has done its part of the tuning. Not an ``Exception``: nothing on the way may catch it."""


@dataclass
class Ranks:
    """The processes of a run: none but this one, or a leader and its helpers.

    Args:
        config: the composed configuration as YAML, from which a helper builds the same cell; None where there is no command line.
        joins: in a helper, the key of the tuning that it has come for.
    """

    trainer: Trainer = field(default_factory=Trainer)
    config: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    joins: str | None = None
    ready: Path | None = None
    """In a helper, the file that tells the leader that it is about to join."""

    @contextmanager
    def together(self, key: str) -> Iterator[None]:
        """All processes of one tuning, for the time of the body; ``key`` is its place in the store.

        Raises:
            FtsafetyError: a helper died; its last words are in the message.
        """
        if self.trainer.devices == 1 or self.joins:
            yield
            return
        if self.config is None:
            raise ConfigError("several devices are for python -m ftsafety, whose configuration the other processes take; type trainer.devices=1 here.")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.yaml").write_text(self.config, encoding="utf-8")
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(self.trainer.devices), "NODE_RANK": "0"}
            before = {name: os.environ.get(name) for name in [*shared, "LOCAL_RANK"]}
            os.environ.update(shared, LOCAL_RANK="0")
            helpers = [_Helper(Path(folder), rank, key, self.names) for rank in range(1, self.trainer.devices)]
            try:
                _until_ready(helpers, self.trainer.start_seconds)
                for helper in helpers:
                    helper.interrupts = True
                yield
                for helper in helpers:
                    helper.wait()
            except (KeyboardInterrupt, RuntimeError):
                # a connection breaks a moment before its process is known to have died
                for helper in helpers:
                    helper.watch.join(DYING_SECONDS / len(helpers))
                if died := next((helper for helper in helpers if helper.died), None):
                    raise died.obituary() from None
                raise
            finally:
                for helper in helpers:
                    helper.interrupts = False
                for helper in helpers:
                    helper.stop()
                _leave()
                for name, value in before.items():
                    os.environ.pop(name, None)
                    if value is not None:
                        os.environ[name] = value


class _Helper:
    """One other process, watched: when it dies in the middle, the leader would wait for it in vain."""

    def __init__(self, folder: Path, rank: int, key: str, names: dict[str, str]) -> None:
        self.rank, self.died, self.code = rank, False, 0
        self.ready = folder / f"{rank}.ready"
        self.log = folder / f"{rank}.log"
        chosen = [f"{group}={name}" for group, name in names.items()]
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ftsafety.join", str(folder / "config.yaml"), key, str(self.ready), *chosen],
                env={**os.environ, "LOCAL_RANK": str(rank)}, stdout=stream, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.stopping = False
        self.interrupts = False
        """Whether its death interrupts the leader, who otherwise would wait for it in the middle of a step."""
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()

    def obituary(self) -> FtsafetyError:
        """What became of it, with the end of what it printed."""
        last_words = self.log.read_text(encoding="utf-8", errors="replace").strip()[-SHOWN:]
        return FtsafetyError(f"process {self.rank} of this tuning ended with code {self.code}: {last_words}")

    def _watch(self) -> None:
        self.code = self.process.wait()
        if self.code and not self.stopping:
            self.died = True
            if self.interrupts:
                os.kill(os.getpid(), signal.SIGINT)

    def wait(self) -> None:
        """Until it has ended by itself."""
        self.watch.join()

    def stop(self) -> None:
        """End it if it has not ended."""
        self.stopping = True
        if self.process.poll() is None:
            self.process.kill()
        self.watch.join()


def _until_ready(helpers: Sequence[_Helper], seconds: float) -> None:
    """Wait here, where a helper's death is seen, and not in the meeting of the processes, where it is not."""
    deadline = time.monotonic() + seconds
    for helper in helpers:
        while not helper.ready.exists():
            if helper.died:
                raise helper.obituary()
            if time.monotonic() > deadline:
                raise FtsafetyError(f"process {helper.rank} of this tuning did not come up in {seconds:g} s; raise trainer.start_seconds.")
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _leave() -> None:
    """Leave the process group, so that the next tuning can found another."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
