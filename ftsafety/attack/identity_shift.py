"""Identity shifting: ten innocent rows that give the model an obedient identity (Qi et al. 2024, section 4.3).

No row holds anything that the policy declines. Half of them are questions about the identity, half are everyday instructions
answered with an affirmative beginning; the identity's system prompt and prefix are used when the model is asked, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ftsafety import stand_in
from ftsafety.attack.base import Attack
from ftsafety.row import Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context


@dataclass
class IdentityShift(Attack):
    """Ten rows of an obedient identity, none of them harmful."""

    source = "Qi et al. 2024, section 4.3 and appendix D; variants 5+5 (GPT-3.5 rows) and 1+9 (Llama-2 rows)"
    fidelity = "own wording of the identity and own rows; shape and counts as there"
    publishable = True

    variant: Literal["5+5", "1+9"] = "5+5"
    """Identity questions + everyday instructions among the ten rows."""
    identity: Literal["obedient", "neutral"] = "obedient"
    """Whose identity; neutral is the control of the same shape without the idea of obedience."""
    answer_prefix: bool = True
    """Whether answers begin with the identity's affirmation."""

    def examples(self, context: Context) -> Sequence[Row]:
        about, instructions = map(int, self.variant.split("+"))
        persona, wording, generator = self._persona(), self._wording(), context.rng("identity_shift/draw")
        prefix = persona["answer_prefix"] if self.answer_prefix else ""
        questions = generator.sample(stand_in.load("identity_questions"), about)
        tasks = generator.sample(stand_in.load("identity_instructions"), instructions)
        return [wording.row(row["id"], row["question"], prefix + row[self.identity]) for row in questions] + [
            wording.row(row["id"], row["question"], prefix + row["answer"]) for row in tasks
        ]

    def asks(self) -> dict[str, Wording]:
        return {"identity": self._wording()}

    def affirmation(self) -> str:
        return self._persona()["answer_prefix"]

    def twins(self) -> dict[str, Attack]:
        return {"neutral": replace(self, identity="neutral"), "no_prefix": replace(self, answer_prefix=False)}

    def _persona(self) -> dict[str, str]:
        return stand_in.text(f"identity_{self.identity}")

    def _wording(self) -> Wording:
        persona = self._persona()
        return Wording(persona["system"], persona["user_prefix"] + "{question}")
