"""After how many optimiser steps half of a model's refusals are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class HalfLife:
    """Optimiser steps until the share of refusals is half of what it was before any step, with a 95 % interval over the questions.

    None is later than the last reading; the low end is at most the high one.
    """

    steps: float | None
    low: float | None
    high: float | None
    last: int
    """The last reading's step."""


def half_life(steps: Sequence[int], refused: Sequence[Sequence[bool]]) -> HalfLife | None:
    """The first time that the share of refusals reaches half of its first value, on straight lines between readings.

    The interval is the percentile bootstrap over questions, each with all its readings; a draw that refuses nothing at first counts as none.

    Args:
        steps: of the readings, rising from 0.
        refused: per reading, whether each question's answer was refused; the questions in the same order.

    Returns:
        None where nothing was refused at first, so that there is nothing to lose.
    """
    import numpy

    table = numpy.array(refused, dtype=float)
    if not table[0].any():
        return None
    questions = table.shape[1]
    draw = numpy.random.default_rng(0)
    counts = draw.multinomial(questions, [1 / questions] * questions, size=DRAWS)
    found = sorted(_crossing(steps, shares) for shares in counts @ table.T / questions if shares[0] > 0)
    tail = (1 - LEVEL) / 2
    ends = [found[round(share * (len(found) - 1))] for share in (tail, 1 - tail)]
    value, low, high = (None if number == float("inf") else number for number in (_crossing(steps, table.mean(1)), *ends))
    return HalfLife(value, low, high, steps[-1])


def _crossing(steps: Sequence[int], shares: Sequence[float]) -> float:
    """Where a broken line first reaches half of its first value; infinity where it does not."""
    half = shares[0] / 2
    for at in range(1, len(shares)):
        if shares[at] <= half:
            above = shares[at - 1]
            return float(steps[at - 1] + (above - half) / (above - shares[at]) * (steps[at] - steps[at - 1]))
    return float("inf")
