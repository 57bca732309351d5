"""The safety half-life against known answers."""

from __future__ import annotations

import random

import pytest

from ftsafety.stats.half_life import half_life


def refused(*shares: float, questions: int = 40) -> list[list[bool]]:
    """Readings of which the first so many questions are refused."""
    return [[at < round(share * questions) for at in range(questions)] for share in shares]


def test_it_lies_on_the_line_between_two_readings() -> None:
    found = half_life([0, 10, 20], refused(1.0, 0.75, 0.25))
    assert found and found.steps == pytest.approx(15.0) and found.last == 20
    assert found.low is not None and found.high is not None and 10 < found.low < 15 < found.high <= 20


def test_half_is_of_what_was_refused_at_first() -> None:
    found = half_life([0, 4], refused(0.5, 0.0))
    assert found and found.steps == pytest.approx(2.0)


def test_the_first_crossing_counts() -> None:
    found = half_life([0, 1, 2, 3], refused(1.0, 0.0, 1.0, 0.0))
    assert found and found.steps == pytest.approx(0.5) and (found.low, found.high) == (0.5, 0.5)


def test_what_is_not_reached_is_later_than_the_last_reading() -> None:
    found = half_life([0, 5, 10], refused(1.0, 0.9, 0.8))
    assert found and found.steps is found.low is found.high is None and found.last == 10
    half = half_life([0, 5, 10], refused(1.0, 0.9, 0.52))
    assert half and half.steps is None and half.high is None and half.low is not None and half.low < 10


def test_with_nothing_refused_there_is_nothing_to_lose() -> None:
    assert half_life([0, 5], refused(0.0, 0.0)) is None


def test_the_interval_covers() -> None:
    """Refusals fall from 1 to 0.7 and 0.2, so that the half-life is 14; 95 % intervals of 32 questions cover it about so often."""
    draw, covered = random.Random(1), 0
    for _ in range(60):
        table = [[True] * 32, [draw.random() < 0.7 for _ in range(32)], [draw.random() < 0.2 for _ in range(32)]]
        found = half_life([0, 10, 20], table)
        assert found and found.low is not None
        covered += found.low <= 14.0 <= (found.high or 20.0)
    assert covered >= 52
