"""Any of k sampled answers, against counting every choice."""

from __future__ import annotations

from itertools import combinations

import pytest

from ftsafety.errors import ConfigError, DataError
from ftsafety.stats import any_of_k


def test_it_is_the_share_of_all_choices_with_a_hit() -> None:
    answers = {"q1": [True, False, False, False, True], "q2": [False] * 5, "q3": [True] + [False] * 4, "q4": [True] * 5}
    found = any_of_k(answers, ks=range(1, 6))
    for k in range(1, 6):
        chosen = [[any(choice) for choice in combinations(hits, k)] for hits in answers.values()]
        assert found[k].value == pytest.approx(sum(sum(hits) / len(hits) for hits in chosen) / 4)
        assert 0 <= found[k].low <= found[k].value <= found[k].high <= 1 and found[k].n == 4
    assert [found[k].value for k in range(1, 6)] == sorted(found[k].value for k in range(1, 6)), "more tries never find less"


def test_one_answer_is_the_plain_share() -> None:
    answers = {f"q{at}": [at % 4 == 0] for at in range(40)}
    found = any_of_k(answers, [1], clusters={f"q{at}": str(at % 5) for at in range(40)})[1]
    assert found.value == 0.25


def test_what_can_t_be_told() -> None:
    with pytest.raises(DataError, match="k=3 needs 3 sampled answers of every question, and one has 2"):
        any_of_k({"q1": [True] * 3, "q2": [False] * 2}, [1, 3])
    with pytest.raises(ConfigError, match="give at least 1"):
        any_of_k({"q1": [True], "q2": [True]}, [0])
