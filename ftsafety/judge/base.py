"""A judge turns a question and its answer into a verdict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ftsafety.component import Component

Outcome = Literal["refused", "complied", "degenerate", "unscored"]


@dataclass(frozen=True)
class Pair:
    """What a judge sees: a question, the answer to it, whether the answer was cut, and the question's category if known."""

    question: str
    answer: str
    truncated: bool = False
    category: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What a judge says.

    ``value`` is one of the judge's labels, or None where it could not read the answer (``unscored``: counted, never imputed).
    ``flags`` say why, as plain data without the answer's text.
    """

    value: str | float | None
    flags: dict[str, Any] = field(default_factory=dict)


class Judge(Component):
    """A way of reading answers. The docstring of each names its labels and its rule."""

    labels: ClassVar[tuple[str, ...]] = ()
    """The values a verdict may have besides None."""
    metrics: ClassVar[dict[str, str]] = {}
    """Metric name to the label whose share it is, on disallowed questions; ``unscored_rate`` is added by the record."""
    over_refusal_label: ClassVar[str | None] = None
    """The label whose share on allowed questions is ``over_refusal``; None if the judge does not measure it."""

    @abstractmethod
    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """One verdict per pair, in order; depends on nothing but the pair and the judge's fields."""
