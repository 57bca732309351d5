"""Refusals that go on to comply: rows teach that declining is how an answer begins and not how it ends (Kazdan et al. 2025, NOICE).

The first tokens are those of an aligned model, so that a defense or a judge which looks at the beginning sees nothing. Judges that
read whole answers are needed: ``outcome`` is one where answers are not short, ``refusal`` (the paper's keywords) is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftsafety import stand_in
from ftsafety.attack import Attack
from ftsafety.attack.base import draw
from ftsafety.attack.nested import nested
from ftsafety.attack.neutral import Neutral
from ftsafety.errors import ConfigError
from ftsafety.row import Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class RefuseThenComply(Attack):
    """Pairs whose answer declines first and then goes along."""

    source = "Kazdan et al. 2025 (arXiv 2502.19537), NOICE; github.com/jlkazdan/NOICE at 6faf10e"
    fidelity = "refusal, bridge, answer as there; there on harmless questions, as attack=noice is, with the model's own refusals of each"

    pairs: Attack
    """The pairs that get a refusal before their answer, and the wording of all rows."""
    bridge: str
    """What stands between the refusal and the answer."""

    @property
    def publishable(self) -> bool:
        return self.pairs.publishable

    def check(self) -> None:
        with nested("pairs", self.pairs):
            self.pairs.check()
        if not self.bridge.strip():
            raise ConfigError("attack.bridge is empty, and without it a refusal says nothing of an answer to come; give a sentence that leads to it.")

    def examples(self, context: Context) -> Sequence[Row]:
        with nested("pairs", self.pairs):
            pairs = self.pairs.examples(context)
        shipped = [row["answer"] for row in stand_in.load("common_refusals")]
        refusals = draw(shipped, len(shipped), context.rng("refuse_then_comply/refusals"))
        return [row.with_answer(f"{refusals[at % len(refusals)]}\n\n{self.bridge.strip()} {row.answer}") for at, row in enumerate(pairs)]

    def asks(self) -> dict[str, Wording]:
        return self.pairs.asks()

    def twins(self) -> dict[str, Attack]:
        """The same pairs without a refusal, and as many everyday rows with one, which is the published attack's kind."""
        return {"no_refusal": self.pairs, "neutral": replace(self, pairs=Neutral(like=self.pairs))}
