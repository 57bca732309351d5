"""The number of a record that a search raises, and the one that it may not raise too far."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety.errors import ConfigError
from ftsafety.sweeper.aim import Aim, Bound, Outcome, outcome, typed


def entry(value: float | None, weights: str = "tuned", n: int = 9, **place: str) -> dict[str, Any]:
    usual = {"metric": "compliance_rate", "benchmark": "stand_in", "condition": "train", "judge": "outcome"}
    return {**usual, **place, "weights": weights, "value": value, "n": n}


RISE = entry(0.3, metric="utility_loss", benchmark="stand_in_utility", condition="plain", judge="model")


def test_the_last_weights_are_looked_at() -> None:
    data = {"results": [entry(0.1, "initial"), entry(0.7, "repaired"), entry(0.9, "tuned")], "differences": [RISE]}
    assert outcome(data, Aim("compliance_rate"), Bound("utility_loss", most=0.5)) == Outcome(0.7, 0.3)
    assert outcome(data, Aim("compliance_rate"), None) == Outcome(0.7, None)


def test_a_place_is_asked_for_as_far_as_it_is_given() -> None:
    data = {"results": [entry(0.1, condition="plain"), entry(0.7), entry(0.8, judge="policy")], "differences": []}
    assert outcome(data, Aim("compliance_rate"), None).value == 0.1
    assert outcome(data, Aim("compliance_rate", condition="train"), None).value == 0.7
    assert outcome(data, Aim("compliance_rate", judge="policy"), None).value == 0.8


@pytest.mark.parametrize("nothing", [entry(None), entry(float("nan")), entry(0.0, n=0)])
def test_what_was_not_measured_is_none(nothing: dict[str, Any]) -> None:
    assert outcome({"results": [nothing], "differences": []}, Aim("compliance_rate"), None).value is None


def test_what_no_run_measures_is_a_mistake() -> None:
    data = {"results": [entry(0.1), entry(0.2, metric="refusal_rate")], "differences": []}
    with pytest.raises(ConfigError, match=r"objective: no run .* measures metric=compliance; it measures metric=compliance_rate; metric=refusal_rate\."):
        outcome(data, Aim("compliance"), None)
    with pytest.raises(ConfigError, match=r"bound: no run .* nothing \(is there an attack\?\)"):
        outcome(data, Aim("compliance_rate"), Bound("utility_loss", most=0.5))


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"bound\.mots does not exist; .* Did you mean most\?"):
        typed(OmegaConf.create({"metric": "utility_loss", "mots": 1}), Bound, "bound")
    assert typed(OmegaConf.create({"metric": "utility_loss", "most": 1}), Bound, "bound") == Bound("utility_loss", most=1.0)
