"""What anchors share: a weight that is 0 or more, and refusals in the place of a window's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Window


@dataclass(kw_only=True)
class Anchor(Mitigation):
    """Base of the mitigations that add a distance from the start model to the loss."""

    off: ClassVar[Mapping[str, Any]] = {"weight": 0.0}

    weight: float
    """The distance is multiplied by this; 0 is plain tuning."""

    @property
    def option(self) -> str:
        """Where a person types this mitigation's fields."""
        return f"mitigation.{type(self).__name__.lower()}"

    def check(self, judges: Mapping[str, Judge]) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ConfigError(f"{self.option}.weight={self.weight:g} is not possible; give 0 or more, such as 0.1.")


def drawn(stream: str, window: Window, context: Context) -> Window:
    """As many rows of a stream as the window has, drawn at once and cut as it is, so that the cut changes nothing."""
    from ftsafety.tune import collate

    sizes = [len(micro["input_ids"]) for micro in window]
    rows = iter(sorted(context.draw(stream, sum(sizes)), key=lambda row: -len(row.ids)))
    device = window[0]["input_ids"].device
    return [{name: tensor.to(device) for name, tensor in collate(list(islice(rows, size))).items()} for size in sizes]
