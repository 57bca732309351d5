"""Kappa and alpha against textbooks and statsmodels, at their ends, and with answers that hang together."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from ftsafety.stats import Estimate, rate
from ftsafety.stats.agreement import Verdicts, alpha, kappa

KRIPPENDORFF = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
"""Four observers and twelve units of Krippendorff 2011, section C; a dot is missing."""


def told(table: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Both judges' verdicts, from a table of first by second."""
    cells = [(a, b) for a, row in enumerate(table) for b, n in enumerate(row) for _ in range(n)]
    return [a for a, _ in cells], [b for _, b in cells]


def need(found: Estimate | None) -> Estimate:
    assert found is not None
    return found


def numbers(found: Estimate | None) -> tuple[float, float, float]:
    found = need(found)
    return found.value, found.low, found.high


TABLES = [[[20, 5], [10, 15]], [[200, 50], [100, 150]], [[44, 5, 1], [7, 20, 3], [9, 5, 6]], [[30, 1], [2, 200]]]


@pytest.mark.parametrize("table", TABLES)
def test_kappa_is_statsmodels_and_its_interval_near(table: list[list[int]]) -> None:
    found, expected = need(kappa(*told(table))), cohens_kappa(table)
    assert found.value == pytest.approx(expected.kappa) and found.n == sum(map(sum, table))
    assert (found.low, found.high) == pytest.approx((expected.kappa_low, expected.kappa_upp), abs=0.02)


def test_kappa_by_hand() -> None:
    """Same in 35 of 50, by chance in half of them."""
    assert need(kappa(*told([[20, 5], [10, 15]]))).value == pytest.approx((0.7 - 0.5) / (1 - 0.5))


def test_alpha_as_published() -> None:
    units: list[Verdicts] = list(zip(*[[None if sign == "." else sign for sign in row.split()] for row in KRIPPENDORFF], strict=True))
    found = need(alpha(units))
    assert found.value == pytest.approx(0.743, abs=5e-4) and found.n == 11, "what one observer saw alone says nothing of agreement"
    assert need(alpha(list(zip("0100000010", "1110010000", strict=True)))).value == pytest.approx(0.095, abs=5e-4)


def test_what_one_could_not_read_is_left_out() -> None:
    first, second = told([[20, 5], [10, 15]])
    assert kappa([*first, None, 1, None], [*second, 1, None, None]) == kappa(first, second)
    pairs = list(zip(first, second, strict=True))
    assert alpha([*pairs, (None, 1), (1, None)]) == alpha(pairs)


def test_order_of_judges_does_not_matter() -> None:
    first, second = told([[20, 5], [10, 15]])
    assert numbers(kappa(first, second)) == pytest.approx(numbers(kappa(second, first)))


def test_answers_to_one_question_count_once() -> None:
    """Each answer twice, under the same question: as sure as once, and surer where they pass for different questions."""
    first, second = told([[20, 5], [10, 15]])
    questions = [str(at) for at in range(50)] * 2
    once, twice = numbers(kappa(first, second)), need(kappa(first * 2, second * 2, questions))
    assert (twice.value, twice.low, twice.high) == pytest.approx(once) and twice.n == 100
    apart = need(kappa(first * 2, second * 2))
    assert twice.low < apart.low < apart.high < twice.high
    pairs = list(zip(first, second, strict=True))
    assert numbers(alpha(pairs * 2, questions))[0] == pytest.approx(numbers(alpha(pairs))[0], abs=0.01)


def test_full_agreement_is_no_certainty() -> None:
    same = told([[12, 0], [0, 8]])
    found = need(kappa(*same))
    assert (found.value, found.high) == (1, 1) and found.low == pytest.approx(1 - rate([False] * 20).high / (1 - (0.6**2 + 0.4**2)))
    assert need(alpha(list(zip(*same, strict=True)))).low < 1


@pytest.mark.parametrize(("first", "second"), [([], []), ([1, 1], [1, 1]), ([None, 1], [1, None])])
def test_nothing_to_agree_on(first: list[int | None], second: list[int | None]) -> None:
    assert kappa(first, second) is None and alpha(list(zip(first, second, strict=True))) is None


def test_a_single_question_decides() -> None:
    assert numbers(kappa([1, 0, 0, 0], [1, 0, 0, 0])) == (1, -1, 1)
    assert numbers(kappa([1, 0], [0, 0], ["one", "one"])) == (0, -1, 1)


def test_the_interval_covers() -> None:
    """Judges that err by themselves on 10 % of the answers, half of which are hits: kappa is 0.64."""
    generator, times, covered = random.Random(2), 200, 0
    for _ in range(times):
        truth = [generator.random() < 0.5 for _ in range(60)]
        said = [[hit == (generator.random() < 0.9) for hit in truth] for _ in range(2)]
        found = need(kappa(*said))
        covered += found.low <= 0.64 <= found.high
    assert covered >= 0.91 * times
