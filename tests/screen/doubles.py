"""Screens' surroundings without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.build import build
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.row import PLAIN, Row
from ftsafety.screen import Screen

CONF = Path(__file__).resolve().parents[2] / "conf" / "screen"


def shipped(name: str, **fields: Any) -> Screen:
    """An option with its shipped numbers, but for some fields."""
    return build(OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), fields), Screen, f"screen.{name}")


def rows_of(name: str) -> list[Row]:
    """The rows of a shipped file, in the plain wording."""
    return [PLAIN.row(row["id"], row["question"], row.get("answer", "The fourth.")) for row in stand_in.load(name)]


@dataclass
class Word(Judge):
    """Flags pairs that hold a word, and says where; None for an answer of ?!."""

    source = "this test"
    labels = ("harmful", "fine")
    word: str = "race 3"
    """What is looked for."""

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        texts = [f"{pair.question} {pair.answer}" for pair in pairs]
        return [
            Verdict(None) if pair.answer == "?!" else Verdict("harmful" if self.word in text else "fine", {"at": text.find(self.word)})
            for pair, text in zip(pairs, texts, strict=True)
        ]
