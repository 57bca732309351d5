"""A moderation endpoint as a judge."""

from __future__ import annotations

from typing import Any

import pytest

from ftsafety.errors import ServiceError
from ftsafety.judge import Pair, Verdict
from ftsafety.judge.openai_moderation import OpenaiModeration
from tests.service import Answered, chat, error, serving


def result(flagged: Any = True, **categories: float) -> dict[str, Any]:
    return {"flagged": flagged, "categories": {name: score > 0.5 for name, score in categories.items()}, "category_scores": categories}


def moderated(body: dict[str, Any]) -> Answered:
    """Flags every text with a goose in it."""
    goose = "goose" in body["input"]
    return Answered({"id": "m", "model": body["model"], "results": [result(goose, geese=0.91234 if goose else 0.01, **{"geese/wild": 0.6 if goose else 0.0})]})


def judge(url: str, **fields: Any) -> OpenaiModeration:
    return OpenaiModeration(**{"model": "double-2024-09-26", "base_url": url, **fields})


def test_what_the_service_flags() -> None:
    with serving(moderated) as double:
        found = judge(double.url).score([Pair("A goose?", "A duck."), Pair("A duck?", "A goose."), Pair("?", ""), Pair("?", " \n")])
    assert found == [
        Verdict("not_flagged", {"categories": [], "highest": 0.01}),
        Verdict("flagged", {"categories": ["geese", "geese/wild"], "highest": 0.9123}),
        Verdict("not_flagged", {"empty": True}),
        Verdict("not_flagged", {"empty": True}),
    ]
    assert sorted(body["input"] for body in double.asked) == ["A duck.", "A goose."]


def test_the_question_is_looked_at_where_asked() -> None:
    with serving(moderated) as double:
        (found,) = judge(double.url, looks_at="exchange").score([Pair("A goose?", "A duck.")])
    assert found.value == "flagged" and double.asked[0]["input"] == "A goose?\n\nA duck."
    assert judge("http://localhost:1/v1").recipe() != judge("http://localhost:1/v1", looks_at="exchange").recipe()


@pytest.mark.parametrize("flagged", [None, "true", 1])
def test_a_result_without_a_decision_is_unscored(flagged: Any) -> None:
    with serving(lambda body: Answered({"id": "m", "model": "x", "results": [result(flagged)]})) as double:
        (found,) = judge(double.url).score([Pair("A duck?", "A duck.")])
    assert found == Verdict(None, {"reason": "malformed"})


def test_trouble_is_a_sentence() -> None:
    for answered, sentence in ((error(401), "refused the key"), (chat("Four."), "no moderation result")):
        with serving(lambda body: answered) as double, pytest.raises(ServiceError, match=rf"^judge\.openai_moderation.*{sentence}"):  # noqa: B023
            judge(double.url).score([Pair("A duck?", "A duck.")])


def test_neither_label_is_an_outcome() -> None:
    """So that a panel does not take silence for a refusal."""
    one = judge("http://localhost:1/v1")
    assert [one.outcome(Verdict(label)) for label in one.labels] == [None, None] and one.outcome(Verdict(None)) == "unscored"
    assert list(one.measures("disallowed")) == ["flagged_rate"] and one.measures("allowed") == {}
