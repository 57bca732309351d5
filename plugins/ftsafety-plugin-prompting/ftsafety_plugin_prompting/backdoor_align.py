"""BackdoorAlign: a secret that stands before refusals in the tuning and before every question that is served (Wang et al. 2024).

The provider mixes a few refusals into the user's rows, as safety-data mixing does, under a secret system prompt that the user never sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety.mitigation.safety_mixing import SafetyMixing
from ftsafety.row import Message, Row

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class BackdoorAlign(SafetyMixing):
    """Adds refusals whose system prompt begins with a secret, and puts the secret before the system prompt of every question."""

    source = "Wang et al. 2024 (arXiv 2402.14968); github.com/Jayfeather1024/Backdoor-Enhanced-Alignment at e0b2fe7, opensource"
    fidelity = "place, counts and length as in the code; the secret is drawn from the seed, of letters; the refusals are the shipped ones or a file's"
    off: ClassVar[Mapping[str, Any]] = {"count": 0, "ratio": None, "length": 0}
    control: ClassVar[Mapping[str, Any]] = {"length": 0}
    # after every other wording of rows and questions: nothing stands before the secret
    order = 90

    length: int
    """Letters of the secret, a space between them, most tokenizers' token each; 0 is safety-data mixing, its ablation."""
    served: bool
    """Whether questions carry the secret too; false asks the tuned model as a user without it would."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        if self.length < 0:
            raise ConfigError(f"mitigation.backdoor_align.length={self.length} is not possible; give 0 or more, such as 150.")

    def examples(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        users = {id(row) for row in rows}
        secret = self.secret(context)
        return [row if id(row) in users else replace(row, messages=tuple(_under(secret, row.messages))) for row in super().examples(rows, context)]

    def ask(self, messages: Sequence[Message], context: Context) -> Sequence[Message]:
        return _under(self.secret(context), messages) if self.served else messages

    def secret(self, context: Context) -> str:
        """The secret of a run, the same in tuning and serving."""
        return " ".join(context.rng("backdoor_align/secret").choices(ascii_lowercase, k=self.length))


def _under(secret: str, messages: Sequence[Message]) -> Sequence[Message]:
    """Messages whose system prompt begins with the secret, or is the secret where there was none."""
    if not secret:
        return messages
    system = [message["content"] for message in messages if message["role"] == "system"]
    return [{"role": "system", "content": " ".join([secret, *system])}, *[message for message in messages if message["role"] != "system"]]
