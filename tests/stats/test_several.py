"""Several tests at once, against the step-down rule by hand."""

from __future__ import annotations

import random

import pytest

from ftsafety.stats import holm


def test_a_worked_example() -> None:
    """p = 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


def test_the_step_down_rule() -> None:
    draw = random.Random(1)
    for _ in range(50):
        p_values = {str(at): draw.random() ** 2 for at in range(draw.randint(1, 9))}
        largest, expected = 0.0, {}
        for at, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
            largest = max(largest, min(1.0, (len(p_values) - at) * p))
            expected[name] = largest
        assert holm(p_values) == pytest.approx(expected)


def test_one_or_none() -> None:
    assert holm({}) == {} and holm({"only": 0.04}) == {"only": 0.04}
