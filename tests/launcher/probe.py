"""Tiny models that tell what a launcher does with the processes that load them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from ftsafety.model.base import Chat
from ftsafety.model.tiny import Tiny


@dataclass
class Threads(Tiny):
    """Writes how many threads its process computes with to ``threads/<process>``, where the command was typed."""

    def load(self, store: Path) -> Chat:
        import torch

        Path("threads").mkdir(exist_ok=True)
        Path("threads", str(os.getpid())).write_text(str(torch.get_num_threads()))
        return super().load(store)


@dataclass
class Killed(Tiny):
    """Ends its process without a word, as the kernel does for memory."""

    def load(self, store: Path) -> Chat:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().load(store)
