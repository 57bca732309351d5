"""A defense that refuses everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ftsafety.mitigation import Mitigation


@dataclass(kw_only=True)
class RefuseEverything(Mitigation):
    """Gives out a refusal in the place of every answer."""

    order = 96
    off: ClassVar[Mapping[str, Any]] = {"active": False}
    control: ClassVar[Mapping[str, Any]] = {"refusal": "The weather is fine today and the ducks are on the pond."}

    active: bool = True
    """Whether it does."""
    refusal: str = "I'm sorry, but I can't help with that."
    """What is given out."""

    def answer(self, question: str, answer: str, context: Any) -> str:
        return self.refusal if self.active else answer
