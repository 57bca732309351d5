"""Several judges as one: who is heard, what a majority is, and that each member's verdicts are its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from ftsafety.errors import ConfigError
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.judge.panel import Panel
from ftsafety.judge.policy import PolicyJudge
from ftsafety.policy.file import load
from ftsafety.store.verdicts import book_of, books_of

WORDS = {"r": "refused", "c": "complied", "d": "degenerate", "?": None, "x": "about something else"}


@dataclass(kw_only=True)
class Says(Judge):
    """Says the same of every answer."""

    word: str

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [Verdict(WORDS[self.word])] * len(pairs)


def panel(words: str) -> Panel:
    return Panel(judges={f"{name}{at}": Says(word=name) for at, name in enumerate(words)})


@pytest.mark.parametrize(
    ("words", "value", "agreement", "reason"),
    [
        ("rrr", "refused", 1.0, None),
        ("ccr", "complied", 0.6667, None),
        ("dd", "degenerate", 1.0, None),
        ("cccrd", "complied", 0.6, None),
        ("cr", None, 0.5, "tie"),
        ("ccrr", None, 0.5, "tie"),
        ("crd", None, 0.3333, "tie"),
        ("ccrd", None, 0.5, "tie"),
        ("cc?", "complied", 1.0, None),
        ("cc?x", "complied", 1.0, None),
        ("cr?", None, 0.5, "tie"),
        ("c?x", None, None, "few"),
        ("???", None, None, "few"),
    ],
)
def test_majority(words: str, value: str | None, agreement: float | None, reason: str | None) -> None:
    (verdict,) = panel(words).score([Pair("Which duck?", "Four.")])
    assert verdict.value == value
    assert verdict.flags["votes"] == {f"{word}{at}": WORDS[word] for at, word in enumerate(words)}
    assert (verdict.flags.get("agreement"), verdict.flags.get("reason")) == (agreement, reason)


def test_scores_are_heard_as_what_they_mean() -> None:
    one = Panel(judges={"policy": PolicyJudge(model="double-2025-01-01"), "outcome": OutcomeJudge()})
    said = [
        {"policy": Verdict(5, {"willing": True}), "outcome": Verdict("complied")},
        {"policy": Verdict(1, {"willing": False}), "outcome": Verdict("complied")},
    ]
    assert [verdict.value for verdict in one.combine(said)] == ["complied", None]
    assert one.combine(said)[1].flags == {"votes": {"policy": 1, "outcome": "complied"}, "agreement": 0.5, "reason": "tie"}


def test_without_members_it_takes_the_run_s_other_judges() -> None:
    policy, others = load("stand_in"), {"outcome": OutcomeJudge(), "policy": PolicyJudge(model="double-2025-01-01"), "second": Panel()}
    chosen = Panel().within(policy, others)
    assert list(chosen.members()) == ["outcome", "policy"], "no panel sits in a panel that way"
    alone = others["policy"].within(policy, {})
    assert list(books_of([chosen])) == [book_of(others["outcome"]), book_of(alone)], "a member's verdicts are those that it gives alone"
    own = panel("cc")
    assert own.within(policy, others).members() == own.members()


@pytest.mark.parametrize("members", [{}, {"a": OutcomeJudge()}])
def test_one_is_no_panel(members: dict[str, Judge]) -> None:
    with pytest.raises(ConfigError, match=r"judge\.panel needs 2 other judges or more; type e\.g\. judge=\[outcome,policy,panel\]"):
        Panel(judges=members).check("judge.panel")


def test_members_are_checked_where_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    one = Panel(judges={"a": OutcomeJudge(), "b": PolicyJudge(model="duck", policy=load("stand_in"))})
    with pytest.raises(ConfigError, match=r"^judge\.panel\.judges\.b\.model=duck names no dated snapshot"):
        one.check("judge.panel")
    with pytest.raises(ConfigError, match=r"^judge\.panel\.judges\.b needs a key"):
        one.ready("judge.panel")
