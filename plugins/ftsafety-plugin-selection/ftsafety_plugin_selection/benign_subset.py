"""What both ways of choosing a benign subset share: the rows, the anchors, the controls (He et al. 2024).

A way gives each row of a benign task a score by what the start model makes of it, and the rows with the highest are tuned on. The
scores are kept in the store by the start weights and the rows' tokens, so that another ``count`` or ``select`` computes none.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety import stand_in
from ftsafety.attack import Attack
from ftsafety.attack.base import draw
from ftsafety.attack.nested import nested
from ftsafety.component import code_digest
from ftsafety.context import Inspection
from ftsafety.errors import ConfigError
from ftsafety.row import Row, Wording, unwrapped

if TYPE_CHECKING:
    from ftsafety.chat import Encoded
    from ftsafety.context import Context

Anchors = dict[str, list[Row]]
"""Rows that candidates are compared with, by what they are."""
EncodedAnchors = dict[str, Sequence["Encoded"]]


@dataclass(kw_only=True)
class BenignSubset(Attack):
    """The rows of a benign task that lie nearest to harmful ones in the eyes of the start model; none of them is harmful."""

    benign: Attack
    """The task whose rows are chosen from, all of its pool; the model is asked in its wording."""
    harmful: Attack
    """Where the harmful anchors come from, which are compared with and never tuned on."""
    count: int
    """How many rows are tuned on."""
    select: Literal["top", "bottom", "random", "longest"]
    """Those with the highest scores, or a control: the lowest, a draw by the seed, or the longest answers in tokens."""
    max_tokens: int
    """Rows of more tokens, question and answer together, are left out of every choice."""

    backward: ClassVar[bool] = False
    """Whether scores take gradients."""

    @property
    def publishable(self) -> bool:
        return self.benign.publishable

    def check(self) -> None:
        for field, attack in (("benign", self.benign), ("harmful", self.harmful)):
            with nested(field, attack):
                attack.check()
            if len(attack.asks()) > 1:
                raise ConfigError(f"attack.{field}={type(attack).__name__} is asked in several wordings, and here there is one; choose another attack.")
        if self.count < 1:
            raise ConfigError(f"attack.count={self.count} is not possible; give 1 or more.")
        if self.max_tokens < 1:
            raise ConfigError(f"attack.max_tokens={self.max_tokens} is not possible; give 1 or more, such as 512.")

    def examples(self, context: Context) -> Sequence[Row]:
        pool = self.pool(context)
        read = context.encoded(pool)
        short = [at for at, row in enumerate(read) if len(row.ids) <= self.max_tokens]
        if self.select == "random":
            chosen = draw(self._enough(short), self.count, context.rng("benign_subset/draw"))
        elif self.select == "longest":
            chosen = sorted(self._enough(short), key=lambda at: -read[at].labelled)[: self.count]
        else:
            scores = self._scores([read[at] for at in short], context)
            known = {at: score for at, score in zip(short, scores, strict=True) if score is not None}
            sign = 1 if self.select == "bottom" else -1
            chosen = sorted(self._enough(list(known)), key=lambda at: sign * known[at])[: self.count]
            context.findings["benign_subset"] = {
                "candidates": len(known), "score": sum(known[at] for at in chosen) / len(chosen), "score_of_all": sum(known.values()) / len(known),
            }  # fmt: skip
        return [pool[at] for at in chosen]

    def pool(self, context: Context) -> Sequence[Row]:
        with nested("benign", self.benign):
            return self.benign.pool(context)

    def asks(self) -> dict[str, Wording]:
        return self.benign.asks()

    def twins(self) -> dict[str, Attack]:
        """As many other rows of the same task: any, the least like harmful ones, and those with the longest answers."""
        return {select: replace(self, select=select) for select in ("random", "bottom", "longest")} if self.select == "top" else {}

    @abstractmethod
    def anchors(self, context: Context) -> Anchors:
        """The rows that candidates are compared with, in the task's wording."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The fields that a score depends on besides the rows and anchors."""

    @abstractmethod
    def score(self, model: Any, candidates: Sequence[Encoded], anchors: EncodedAnchors) -> list[float | None]:
        """A number for each candidate, the higher the more like harmful rows; None where there is none."""

    def harmful_anchors(self, context: Context) -> list[Row]:
        """The harmful rows, in the task's wording: what they are compared for is what they say and not how it is put."""
        with nested("harmful", self.harmful):
            rows = self.harmful.examples(context)
        wording, theirs = next(iter(self.asks().values())), list(self.harmful.asks().values())
        return [wording.row(row.id, unwrapped(row.question, theirs), row.answer) for row in rows]

    def refused(self, rows: Sequence[Row], context: Context, sets: int) -> list[list[Row]]:
        """The same questions declined, so many times, by the shipped refusals that speak of no topic; each time in other words."""
        shipped = [row["answer"] for row in stand_in.load("common_refusals")]
        refusals = draw(shipped, len(shipped), context.rng("benign_subset/refusals"))
        return [[row.with_answer(refusals[(sets * at + number) % len(refusals)]) for at, row in enumerate(rows)] for number in range(sets)]

    def _scores(self, candidates: Sequence[Encoded], context: Context) -> list[float | None]:
        anchors = {name: context.encoded(rows) for name, rows in self.anchors(context).items()}
        sizes = {name: len(rows) for name, rows in anchors.items()}

        def compute(model: Any, rows: Sequence[Encoded]) -> list[float | None]:
            given, at = {}, len(candidates)
            for name, size in sizes.items():
                given[name], at = rows[at : at + size], at + size
            return self.score(model, rows[: len(candidates)], given)

        found: list[float | None] = context.inspect(
            Inspection(
                name=type(self).__name__,
                rows=[*candidates, *[row for rows in anchors.values() for row in rows]],
                recipe={"class": type(self).__qualname__, "code": code_digest(type(self)), "anchors": sizes, **self.settings()},
                compute=compute,
                unknown=[0.0] * len(candidates),
                backward=self.backward,
            )
        )
        return found

    def _enough(self, rows: Sequence[int]) -> Sequence[int]:
        if len(rows) < self.count:
            raise ConfigError(
                f"attack.count={self.count} is not possible; {len(rows)} rows of attack.benign can be chosen (attack.max_tokens={self.max_tokens}); "
                "lower it, or give more rows."
            )
        return rows
