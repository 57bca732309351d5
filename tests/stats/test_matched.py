"""Methods compared where they did equally well."""

from __future__ import annotations

import numpy as np
import pytest

from ftsafety.errors import DataError
from ftsafety.stats import Point, crossed, matched

QUESTIONS = [f"q{at}" for at in range(66)]


def path(seed: int, offset: float, losses: tuple[float, ...] = (2.0, 1.0, 0.5), name: str = "a") -> list[Point]:
    """A method that complies the more the lower its loss, plus ``offset``; per-question values between 0 and 1."""
    lean = np.random.default_rng(seed).uniform(-0.1, 0.1, len(QUESTIONS))
    return [
        Point(loss, f"seed {seed}", f"{name}/{seed}/{loss}", {q: 0.6 - 0.2 * loss + offset + float(x) for q, x in zip(QUESTIONS, lean, strict=True)})
        for loss in losses
    ]


def test_at_equal_loss_only_the_offset_is_left() -> None:
    first = [point for seed in range(3) for point in path(seed, 0.2)]
    second = [point for seed in range(3) for point in path(seed, 0.0, losses=(1.7, 0.8), name="b")]
    unmatched = crossed({p.digest: p.values for p in first if p.at == 0.5}, {p.digest: p.values for p in second if p.at == 1.7})
    found = matched(first, second)
    assert found.overlap == (0.8, 1.7) and found.at == pytest.approx(1.25)
    assert found.difference.value == pytest.approx(0.2) and unmatched.value == pytest.approx(0.44)
    assert found.difference.runs == 3 and found.difference.covers == ("questions", "runs", "other runs")
    for place in (0.8, 1.0, 1.7):
        assert matched(first, second, at=place).difference.value == pytest.approx(0.2)


def test_a_question_s_value_is_on_the_line_between_its_neighbours() -> None:
    first = [Point(0.0, "p", "x", {"q1": 0.0, "q2": 1.0}), Point(1.0, "p", "y", {"q1": 1.0, "q2": 1.0})]
    second = [Point(0.25, "p", "z", {"q1": 0.0, "q2": 0.0})]
    assert matched(first, second).difference.value == pytest.approx((0.25 + 1.0) / 2)


def test_never_at_the_same_place() -> None:
    with pytest.raises(DataError, match=r"never at the same place \(1\.5 to 2 and 0\.5 to 1\)"):
        matched(path(0, 0.0, (2.0, 1.5)), path(0, 0.0, (1.0, 0.5)))
    assert matched(path(0, 0.0, (2.0, 1.5)), path(0, 0.0, (1.0, 0.5)), tolerance=0.3).at == pytest.approx(1.25)
    with pytest.raises(DataError, match=r"choose one between 0\.5 and 2"):
        matched(path(0, 0.0), path(1, 0.0), at=3.0)
    with pytest.raises(DataError, match="runs of both methods"):
        matched(path(0, 0.0), [])


def test_equal_weights_are_one_path() -> None:
    same = [Point(point.at, f"seed {seed}", f"shared/{point.at}", point.values) for seed in range(3) for point in path(0, 0.0)]
    assert matched(same, path(1, 0.1)).difference.runs == 1
