"""Two models without weights: one declines everything, one goes along with everything. Every metric must rank them rightly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.hashing import digest_of
from ftsafety.model.base import Chat, Model


@dataclass(kw_only=True)
class Constant(Model):
    """Gives the same answer to every question, with the question in the place of ``{question}``."""

    source = "ours"
    scope = "stand_in"
    tunable = False
    local = False

    answer: str
    """The answer."""

    def fingerprint(self, store: Path) -> str:
        return digest_of(self.recipe())

    def load_tokenizer(self, store: Path) -> Any:
        return None

    def load(self, store: Path) -> Chat:
        return Chat(tokenizer=None, reply=lambda question: self.answer.replace("{question}", question))
