"""A judge turns a question and its answer into a verdict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from ftsafety.component import Component

if TYPE_CHECKING:
    from ftsafety.policy import Policy

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
    ``flags`` say why, as plain data without the answer's text. A judge that costs money counts it there: ``prompt_tokens``,
    ``completion_tokens`` and, where prices are known, ``usd``.
    """

    value: str | float | None
    flags: dict[str, Any] = field(default_factory=dict)
    said: str = ""
    """The judge's own words, which may quote the answer: they stay in the store and never enter a run's folder."""


@dataclass(frozen=True)
class Share:
    """A metric: the share of verdicts that are ``label``, or whose flag ``of`` is."""

    label: Any
    of: str | None = None


@dataclass(frozen=True)
class Mean:
    """A metric: the mean of verdicts that are numbers, or of their flag ``of``. Its interval is Student's."""

    of: str | None = None


Metric = str | Share | Mean
"""How a metric is made of verdicts; a text is the label whose share it is."""


def told(metric: Metric, verdict: Verdict) -> bool | float | None:
    """What one verdict contributes to a metric: true or false to a share, a number to a mean; None where it says nothing of it."""
    if isinstance(metric, str):
        metric = Share(metric)
    value = None if verdict.value is None else verdict.value if metric.of is None else verdict.flags.get(metric.of)
    if value is None:
        return None
    return float(value) if isinstance(metric, Mean) else value == metric.label


class Judge(Component):
    """A way of reading answers. The docstring of each names its labels and its rule."""

    costly: ClassVar[bool] = False
    """Whether a verdict costs money: such a judge is asked by one process at a time and by no dry run."""
    labels: ClassVar[tuple[str, ...]] = ()
    """The values a verdict may have besides None."""
    metrics: ClassVar[Mapping[str, Metric]] = {}
    """Metric name to what it is of the verdicts on disallowed questions, the headline first; ``unscored_rate`` is added by the record."""
    over_refusal_label: ClassVar[str | Share | None] = None
    """The label whose share on allowed questions is ``over_refusal``; None if the judge does not measure it."""
    outcomes: ClassVar[dict[str, Outcome]] = {}
    """What labels mean that are not outcomes themselves; a judge of scores says so in ``outcome`` instead."""
    needs_check: ClassVar[bool] = True
    """Whether a run says so when the judge has not passed ``ftsafety.judge_check``; not for rules that the project's own tests hold to its cases."""

    @abstractmethod
    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """One verdict per pair, in order; depends on nothing but the pair and the judge's fields."""

    def stream(self, pairs: Sequence[Pair], spent_usd: float = 0.0) -> Iterator[tuple[int, Verdict]]:
        """Verdicts as they come, each with its pair's place, in any order. A judge whose verdicts cost something overrides this: each is
        kept before the next one is taken, so that none is paid for twice.

        Args:
            spent_usd: what this judge's kept verdicts have cost already.
        """
        yield from enumerate(self.score(pairs))

    def measures(self, kind: str) -> Mapping[str, Metric]:
        """Metrics on questions of a kind (disallowed, allowed or utility); a judge that costs money is asked only where it has some."""
        if kind == "allowed" and self.over_refusal_label is not None:
            return {"over_refusal": self.over_refusal_label}
        return self.metrics if kind == "disallowed" else {}

    def check(self, where: str) -> None:
        """Refuse fields that can't work together; ``where`` is the judge's place in the configuration."""

    def ready(self, where: str) -> None:
        """Refuse to begin a run that this judge could not finish, such as one without a key; nothing is asked yet."""

    def within(self, policy: Policy, others: Mapping[str, Judge]) -> Judge:
        """This judge as a part of a run, which has a usage policy and other judges."""
        return self

    def members(self) -> Mapping[str, Judge]:
        """Judges whose verdicts this one is made of; they are asked instead of it, and their verdicts are kept as their own."""
        return {}

    def combine(self, votes: Sequence[Mapping[str, Verdict]]) -> list[Verdict]:
        """One verdict for each pair's verdicts by member; only of a judge that has members."""
        raise NotImplementedError(f"{type(self).__name__} has no members")

    def outcome(self, verdict: Verdict) -> Outcome | None:
        """A verdict as one of the four outcomes, so that judges can be held to known answers; None where it says nothing of refusing and complying."""
        if verdict.value is None:
            return "unscored"
        label = str(verdict.value)
        return self.outcomes.get(label) or next((outcome for outcome in get_args(Outcome) if outcome == label), None)
