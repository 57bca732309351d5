"""What a stage gives to attacks and mitigations: randomness by purpose, rows by role, weights and answers on demand."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftsafety.errors import FtsafetyError
from ftsafety.row import Message, Row, Wording

if TYPE_CHECKING:
    from ftsafety.chat import Encoded
    from ftsafety.judge import Judge, Pair, Verdict
    from ftsafety.model import Chat
    from ftsafety.settings import Tuning
    from ftsafety.strategy import Strategy


@dataclass(frozen=True)
class Substage:
    """Something else to train first, from the stage's start weights: its rows, strategy and tuning settings, under a name of its own."""

    name: str
    rows: Sequence[Row]
    strategy: Strategy
    tuning: Tuning


@dataclass(frozen=True)
class Inspection:
    """Something to find out about rows by the stage's start model, under a name of its own: scores, hidden states, gradients.

    It is kept in the store, by the start weights, the rows' tokens and labels, and ``recipe``.
    """

    name: str
    rows: Sequence[Encoded]
    recipe: dict[str, Any]
    """All else that determines the result, its code too; JSON data."""
    compute: Callable[[Any, Sequence[Encoded]], Any]
    """From a module of one's own, in eval mode and with no weight requiring a gradient, and the rows, to JSON data."""
    unknown: Any
    """What stands for the result where no weights are loaded, as in a dry run."""
    backward: bool = False
    """Whether gradients are taken, for an estimate of time and memory."""


@dataclass
class Context:
    """One stage's surroundings.

    Args:
        seed: the run's seed; all randomness is derived from it by purpose, so that a part that draws nothing changes nothing.
        rows_by_role: rows of the shipped or configured data, loaded when asked for.
        weights: ``"pre"`` (never aligned) or ``"al"`` (the stage's start) to a state dict of float32 tensors, loaded when asked for.
        answer: answers of the stage's start model to messages, greedy, through the store.
        hidden: the start model's hidden states at the last token of messages, at a share of its layers, through the store.
        encoded: rows as the stage's start model reads them, at full length.
        inspect: what an inspection by the stage's start model finds, through the store.
        verdicts: a judge's verdicts, through the store, so that one that costs money is paid once.
        tune: runs a content-addressed sub-stage and returns its weights as a state dict of float32 tensors.
        reference: labelled log-probabilities of the frozen start model for a micro-batch.
        tuned: in ``repair``, the tuned model as it is by then, merged, with its tokenizer; loaded when asked for, and one's own to change.
    """

    seed: int
    step: int = 0
    total_steps: int = 0
    wordings: dict[str, Wording] = field(default_factory=dict)
    """The attack's own wordings, as in the train condition."""
    prepared: dict[str, Any] = field(default_factory=dict)
    rows_by_role: Callable[[str], Sequence[Row]] = lambda role: _missing(f"rows of role {role}")
    weights: Callable[[str], dict[str, Any]] = lambda name: _missing(f"weights {name}")
    answer: Callable[[Sequence[Sequence[Message]]], list[str]] = lambda prompts: _missing("answers of the start model")
    hidden: Callable[[Sequence[Sequence[Message]], float], list[list[float]]] = lambda prompts, depth: _missing("hidden states")
    encoded: Callable[[Sequence[Row]], list[Encoded]] = lambda rows: _missing("tokenizer")
    inspect: Callable[[Inspection], Any] = lambda spec: _missing(f"model for {spec.name}")
    verdicts: Callable[[Judge, Sequence[Pair]], list[Verdict]] = lambda judge, pairs: judge.score(pairs)
    tune: Callable[[Substage], dict[str, Any]] = lambda spec: _missing("a sub-stage")
    reference: Callable[[dict[str, Any]], Any] = lambda micro: _missing("a reference model")
    tuned: Callable[[], Chat] = lambda: _missing("tuned model")
    progress: Callable[[str, float], None] = lambda what, share: None
    purposes: set[str] = field(default_factory=set)
    """What randomness was drawn for, so that a record can say what a seed changed."""
    findings: dict[str, Any] = field(default_factory=dict)
    """What mitigations found out about the rows, by their name, for the run's record; numbers only."""
    _streams: dict[str, tuple[Sequence[Any], random.Random, int]] = field(default_factory=dict)

    def sees(self) -> dict[str, Any]:
        """What a mitigation's hooks can read here besides weights and answers, for the keys of what they make."""
        from ftsafety import stand_in
        from ftsafety.hashing import digest_of_path

        return {"wordings": {name: [wording.system, wording.wrap] for name, wording in self.wordings.items()}, "data": digest_of_path(stand_in.FOLDER)}

    def number(self, purpose: str) -> int:
        """A number in [0, 2^56) that depends on the seed and a purpose such as ``"safety_mixing/draw"``."""
        self.purposes.add(purpose)
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{purpose}".encode()).digest()[:7], "big")

    def rng(self, purpose: str) -> random.Random:
        """A generator of its own for one purpose."""
        return random.Random(self.number(purpose))

    def open_stream(self, name: str, rows: Sequence[Any]) -> None:
        """Add a source of encoded rows for ``draw``."""
        self._streams[name] = (rows, self.rng(f"stream/{name}"), 0)

    def streams(self) -> dict[str, Sequence[Any]]:
        """The rows of each open stream."""
        return {name: rows for name, (rows, _, _) in self._streams.items()}

    def draw(self, name: str, count: int) -> list[Any]:
        """The next rows of a stream, drawn with replacement by the stream's own generator."""
        rows, generator, drawn = self._streams[name]
        self._streams[name] = (rows, generator, drawn + count)
        return [rows[generator.randrange(len(rows))] for _ in range(count)]

    def cursors(self) -> dict[str, int]:
        """How many rows each stream has given, for a checkpoint."""
        return {name: drawn for name, (_, _, drawn) in self._streams.items()}

    def load_cursors(self, cursors: dict[str, int]) -> None:
        """Bring each stream's generator to where a checkpoint left it."""
        for name, drawn in cursors.items():
            rows, generator, _ = self._streams[name]
            for _ in range(drawn):
                generator.randrange(len(rows))
            self._streams[name] = (rows, generator, drawn)


def _missing(what: str) -> Any:
    raise FtsafetyError(f"this stage has no {what}; a component that asks for it must name it in `needs`.")
