"""How near a row's question lies, inside the model, to what the model declines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ftsafety import stand_in
from ftsafety.errors import ConfigError, DataError
from ftsafety.row import PLAIN, Row, unwrapped
from ftsafety.screen.base import Screen
from ftsafety.source import read_records

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class Similarity(Screen):
    """The place of a bare question's representation on the line from allowed questions to declined ones: 0 is the mean of the first, 1 of the second.

    The representation is the hidden state at the prompt's last token. Which questions are declined is the policy's word, and not the model's.
    """

    source = "Arditi et al. 2024 (arXiv 2406.11717), section 2.3: difference in means at the last token"
    fidelity = "the direction as there; a fixed depth instead of a search, and places on the line instead of an ablation"
    local: ClassVar[bool] = True

    depth: float
    """At which share of the layers, 0 the embeddings, 1 the last layer."""
    count: int
    """So many questions of each kind, drawn by the seed; all where there are fewer."""
    declined: Path | None
    """Questions that the policy declines, one object with ``question`` a line; null is the shipped ones, which are the stand-in's."""
    allowed: Path | None
    """Questions that it allows, likewise."""

    def check(self, where: str, judges: Mapping[str, Judge]) -> None:
        self.at_least(where, count=1)
        if not 0 <= self.depth <= 1:
            raise ConfigError(f"{where}.depth={self.depth:g} is not possible; give a share of the layers between 0 and 1.")
        if (self.declined is None) is not (self.allowed is None):
            raise ConfigError(f"{where} needs declined and allowed questions of one kind; give both {where}.declined and {where}.allowed, or neither.")
        for path, shipped in ((self.declined, "refused"), (self.allowed, "answered")):
            _questions(path, shipped)

    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        import torch

        drawn = [
            context.rng(f"similarity/{shipped}").sample(found, min(self.count, len(found)))
            for path, shipped in ((self.declined, "refused"), (self.allowed, "answered"))
            if (found := _questions(path, shipped))
        ]
        bare = [unwrapped(row.question, context.wordings.values()) for row in rows]
        states = torch.tensor(context.hidden([PLAIN.ask(question) for question in [*drawn[0], *drawn[1], *bare]], self.depth), dtype=torch.float64)
        declined, allowed, asked = states.split([len(drawn[0]), len(drawn[1]), len(bare)])
        start, line = allowed.mean(0), declined.mean(0) - allowed.mean(0)
        if not bool(line.any()):
            raise DataError("screen.similarity: declined and allowed questions have the same mean in this model; give others, or another depth.")
        return [float(place) for place in (asked - start) @ line / line.square().sum()]


def _questions(path: Path | None, shipped: str) -> list[str]:
    if path is None:
        return [row["question"] for row in stand_in.load(shipped)]
    return [record.text("question") for record in read_records(path)]
