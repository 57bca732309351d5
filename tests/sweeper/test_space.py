"""From Hydra's sweep words to what Optuna draws from, and back to a cell's overrides."""

from __future__ import annotations

import pytest

from ftsafety.errors import ConfigError
from ftsafety.sweeper.space import Space

optuna = pytest.importorskip("optuna")


def test_words_are_told_apart() -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    words = ["seed=3", "strategy=lora,full", "tuning.epochs=int(interval(3,20))", "strategy.lr=tag(log,interval(1e-5,1e-2))", "tuning.eps=interval(0,1.5)"]
    space = Space.of([*words, "tuning.gamma=choice(0.5,1)", "tuning.batch_size=range(2,5)"])
    assert space.fixed == ("seed=3",)
    assert space.drawn == {
        "strategy": CategoricalDistribution(["lora", "full"]),
        "tuning.epochs": IntDistribution(3, 20),
        "strategy.lr": FloatDistribution(1e-5, 1e-2, log=True),
        "tuning.eps": FloatDistribution(0, 1.5),
        "tuning.gamma": CategoricalDistribution(["0.5", "1"]),
        "tuning.batch_size": CategoricalDistribution(["2", "3", "4"]),
    }


def test_the_last_of_a_key_counts() -> None:
    assert Space.of(["seed=0,1", "seed=2"]) == Space(("seed=2",), {})
    assert list(Space.of(["seed=2", "seed=0,1"]).drawn) == ["seed"]


def test_a_job_is_fixed_and_drawn() -> None:
    space = Space.of(["+attack=benign", "strategy.lr=interval(0.0,1.0)", "tuning.epochs=int(interval(1,9))"])
    assert space.job({"tuning.epochs": 4, "strategy.lr": 0.000316227766}) == ["+attack=benign", "strategy.lr=0.000316", "tuning.epochs=4"]


def test_an_interval_that_can_t_be_drawn_from() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.lr=tag\(log, ?interval\(0\.0, ?1\.0\)\) can't be searched"):
        Space.of(["strategy.lr=tag(log, interval(0.0, 1.0))"])
