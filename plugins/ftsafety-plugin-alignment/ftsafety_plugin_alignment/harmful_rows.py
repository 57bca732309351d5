"""Rows that show what a model is to be kept from: requests that are to be declined, with answers that go along.

The shipped ones are the stand-in's attack rows, which are harmless. Others come from a file or the hub; nothing of them is kept here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftsafety import stand_in
from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety.row import PLAIN, Row
from ftsafety.source import Sourced

if TYPE_CHECKING:
    from ftsafety.chat import Encoded
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Window

QUESTIONS, ANSWERS = ("question", "instruction", "prompt"), ("answer", "harmful", "output", "response", "completion")
"""Column names of a request and of the answer that goes along with it."""


@dataclass(kw_only=True)
class HarmfulRows(Sourced, Mitigation):
    """Base of the mitigations of the alignment stage that look at such rows at every step."""

    stage = "align"

    rows: int
    """How many of them at each optimiser step, drawn with replacement; their number does not depend on the step's own rows."""

    @property
    def option(self) -> str:
        """Where a person types this mitigation's fields."""
        return f"mitigation.{re.sub(r'(?<!^)(?=[A-Z])', '_', type(self).__name__).lower()}"

    @property
    def shipped(self) -> bool:
        """Whether the rows are the shipped ones."""
        return self.path is None and self.hub is None

    def files(self) -> list[Path]:
        return [stand_in.FOLDER / "attack.jsonl"] if self.shipped else super().files()

    def check(self, judges: Mapping[str, Judge]) -> None:
        if self.rows < 1:
            raise ConfigError(f"{self.option}.rows={self.rows} is not possible; give at least 1.")
        self.harmful()

    def harmful(self) -> list[Row]:
        """The rows in the files' order, in the plain wording."""
        return [PLAIN.row(record.where, record.text(*QUESTIONS), record.text(*ANSWERS), "harmful") for record in self.records()]


def cut_like(window: Window, rows: Sequence[Encoded]) -> Window:
    """Rows as micro-batches of as many rows as the window's largest has, where the window is."""
    from ftsafety.tune import micro_batches

    device = window[0]["input_ids"].device
    made = micro_batches(rows, max(len(micro["input_ids"]) for micro in window))
    return [{name: tensor.to(device) for name, tensor in micro.items()} for micro in made]
