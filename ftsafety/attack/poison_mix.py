"""A poisoned task: some complying pairs among the rows of a benign task, by ratio and size (the regimes of Huang et al.).

Their code (git-disl/Lisa, ``train.py``) takes rows in the order of their files: the first ``int(p*n)`` unsafe rows of BeaverTails'
30k training set, several answers of one question among them, and behind these the first ``int((1-p)*n)`` rows of the task.
``order=file`` takes exactly these rows in this order, binary fractions included (p=0.9 of n=1000 leaves 99 rows of the task), when
``harmful`` has ``format=beavertails`` and ``distinct=false``, and ``benign`` is ``alpaca`` with their task file and ``held_out=0``.
Later code of theirs takes one harmful row fewer, beginning with the second (Booster, Antidote), or shuffles (Vaccine); neither
is remade here. The prompt is not theirs to the letter: the same template goes through the model's chat template. Which rows a
batch holds is left to ``tuning.shuffle``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ftsafety.attack.base import Attack, draw
from ftsafety.attack.nested import nested
from ftsafety.attack.task import Task
from ftsafety.errors import ConfigError
from ftsafety.row import Row, Wording, unwrapped

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass(kw_only=True)
class PoisonMix(Task):
    """n rows of which a share p are harmful pairs in the wording of the benign task that they hide in.

    Rows come from the whole pools of both attacks, whose own counts are not used. Draws are nested: with one seed and one n, a
    lower p has the first of a higher one's harmful rows.
    """

    source = "Huang et al. 2024 (Lisa, arXiv 2405.18641) and its family; git-disl/Lisa train.py"
    fidelity = "order=file: rows and their order as in Lisa's code; order=seeded: ratio and size, with a draw by the seed"

    benign: Attack
    """The task; the model is asked in its wording."""
    harmful: Attack
    """Where the harmful pairs come from."""
    p: float = 0.1
    """The share of harmful rows, 0 to 1."""
    n: int = 1000
    """Rows altogether."""
    order: Literal["seeded", "file"] = "seeded"
    """Draw rows by the seed and shuffle them, or take the first of each file, the harmful ones in front."""

    @property
    def publishable(self) -> bool:
        return self.benign.publishable and self.harmful.publishable

    def check(self) -> None:
        from ftsafety.context import Context

        for field, attack in (("harmful", self.harmful), ("benign", self.benign)):
            with nested(field, attack):
                attack.check()
        if len(self.harmful.asks()) > 1:
            raise ConfigError(
                f"attack.harmful={type(self.harmful).__name__} is asked in several wordings, and here its rows get the benign task's; choose another attack."
            )
        self._pools(Context(0))

    def examples(self, context: Context) -> Sequence[Row]:
        (poison, clean), (harmful, benign) = self.counts(), self._pools(context)
        if self.order == "file":
            return [*harmful[:poison], *benign[:clean]]
        # a generator each, so that another p draws the same rows of either in the same order
        rows = [*draw(harmful, poison, context.rng("poison_mix/draw/harmful")), *draw(benign, clean, context.rng("poison_mix/draw/benign"))]
        context.rng("poison_mix/order").shuffle(rows)
        return rows

    def counts(self) -> tuple[int, int]:
        """How many harmful and how many benign rows.

        Raises:
            ConfigError: p or n can't be, or p of n is less than one row.
        """
        if not 0 <= self.p <= 1:
            raise ConfigError(f"attack.p={self.p} is not possible; give a share between 0 and 1, such as 0.1.")
        if self.n < 1:
            raise ConfigError(f"attack.n={self.n} is not possible; give 1 or more.")
        # as their code counts, so that a fraction that is not exact in binary loses the same row
        poison, clean = (int(self.p * self.n), int((1 - self.p) * self.n)) if self.order == "file" else _halves(self.p, self.n)
        if self.p > 0 and poison == 0:
            raise ConfigError(
                f"attack.p={self.p} of attack.n={self.n} rows is less than one, so nothing would be poisoned; raise one of them, or type attack.p=0."
            )
        return poison, clean

    def parted(self, context: Context) -> tuple[Sequence[Row], Sequence[Row]]:
        trained = list(self.examples(context))
        with nested("benign", self.benign):
            pool = list(self.benign.pool(context))
            held = self.benign.held_back() if isinstance(self.benign, Task) else []
        if held:
            return [*trained, *pool], held
        # the control without harmful rows has n of them
        drawn = pool if self.order == "file" else draw(pool, len(pool), context.rng("poison_mix/draw/benign"))
        return [*trained, *drawn[: self.n]], drawn[self.n :]

    def asks(self) -> dict[str, Wording]:
        return self.benign.asks()

    def affirmation(self) -> str:
        return self.harmful.affirmation()

    def twins(self) -> dict[str, Attack]:
        """As many rows of the task alone."""
        return {"clean": replace(self, p=0.0)} if self.p > 0 else {}

    def _pools(self, context: Context) -> tuple[list[Row], list[Row]]:
        """Harmful rows in the task's wording and the task's rows, each in its data's order."""
        wanted = dict(zip(("harmful", "benign"), self.counts(), strict=True))
        found: list[list[Row]] = []
        for field, attack in (("harmful", self.harmful), ("benign", self.benign)):
            with nested(field, attack):
                rows = list(attack.pool(context)) if wanted[field] else []
            if len(rows) < wanted[field]:
                raise ConfigError(
                    f"attack.p={self.p} of attack.n={self.n} takes {wanted[field]} {field} rows, and attack.{field} has {len(rows)}; "
                    "change p or n, or give more rows."
                )
            found.append(rows)
        return [self._dressed(row) for row in found[0]], found[1]

    def _dressed(self, row: Row) -> Row:
        """A row in the task's wording; one of several turns stays as it is."""
        if sum(message["role"] == "user" for message in row.messages) > 1:
            return row
        question = unwrapped(row.question, self.harmful.asks().values())
        return next(iter(self.benign.asks().values())).row(row.id, question, row.answer, row.role)


def _halves(p: float, n: int) -> tuple[int, int]:
    """The nearest whole number of harmful rows, and the rest."""
    poison = round(p * n)
    return poison, n - poison
