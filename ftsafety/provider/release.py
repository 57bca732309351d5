"""The last look before a tuned model is served: the policy's development questions, plain and in the training rows' own wording, under a gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftsafety.errors import FtsafetyError
from ftsafety.gate import FAILED, judge_run
from ftsafety.provider.settings import Provider
from ftsafety.row import PLAIN, Row, Wording
from ftsafety.settings import Decoding
from ftsafety.store.publish import publish_json

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.mitigation import Mitigation
    from ftsafety.stages import House
    from ftsafety.weights import Weights

WORDINGS = 3
"""So many of an upload's system prompts are asked with, the most frequent first: more would let an upload decide how long its release takes."""
WITHHELD = "The fine-tuned model did not pass the provider's safety evaluation and is not available."


class Withheld(FtsafetyError):
    """A tuned model that is not served, in words for the customer."""


def release(provider: Provider, house: House, job: str, tuned: Weights, rows: Sequence[Row], mitigations: Sequence[Mitigation], context: Context) -> None:
    """Let a tuned model go, or not. Without limits nothing is asked.

    What the gate found is kept for the provider alone. Not enough evidence holds nothing back; the provider's record says so.

    Raises:
        Withheld: a limit is broken: the whole interval lies above it.
    """
    if not provider.audits:
        return
    from ftsafety.measure import askings, measure
    from ftsafety.record import differences, results

    plan = [asking for asking in askings(provider.benchmarks, wordings_of(rows)) if asking.condition != "safe"]

    def ask(weights: Weights, label: str) -> Any:
        return measure(house, weights, label, provider.benchmarks, plan, provider.judges, Decoding(), 0, mitigations, context)

    before, after = ask(house.loader.weights(provider.model), "initial"), ask(tuned, "tuned")
    data = {"results": results("tuned", after, provider.judges), "differences": differences(before, after, provider.judges)}
    outcome = judge_run(provider.release, data)
    publish_json(provider.folder / "releases" / f"{job}.json", {"code": outcome.code, "sentences": list(outcome.sentences), **data})
    if outcome.code == FAILED:
        raise Withheld(WITHHELD)


def wordings_of(rows: Sequence[Row]) -> dict[str, Wording]:
    """The system prompts that the rows were written under, the most frequent ones."""
    often = Counter(next((turn["content"] for turn in row.messages if turn["role"] == "system"), None) for row in rows)
    found = {f"upload {at}": Wording(system) for at, (system, _) in enumerate(often.most_common(WORDINGS)) if system}
    return found or {"upload": PLAIN}
