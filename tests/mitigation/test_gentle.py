"""Gentle tuning: each ingredient alone is what it says, off is nothing, and an interrupted tuning goes on with its average."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.gentle import Gentle
from ftsafety.store.publish import no_fault, set_fault
from ftsafety.strategy.full import Full
from ftsafety.strategy.lora import Lora
from tests.mitigation.bench import Bench, tensors

CONF = Path(__file__).resolve().parents[2] / "conf" / "mitigation" / "gentle.yaml"
OFF: dict[str, Any] = {"lr_factor": 1.0, "ema": None, "stop_loss": None}


def gentle(**fields: Any) -> dict[str, Mitigation]:
    return {"gentle": Gentle(**{**OFF, **fields})}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_shipped_numbers() -> None:
    assert build(OmegaConf.load(CONF), Mitigation, "mitigation.gentle") == Gentle(lr_factor=0.3, ema=0.5, stop_loss=None)


@pytest.mark.parametrize("strategy", [Lora(lr=0.02), Full(lr=0.002)], ids=["lora", "full"])
def test_off_is_plain_tuning_bit_for_bit(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    assert same(bench({}), bench(gentle()))


def test_a_factor_is_a_lower_learning_rate(bench: Bench) -> None:
    lower = bench(gentle(lr_factor=0.25))
    bench.strategy = Lora(lr=0.005)
    assert same(lower, bench({}))


def test_the_average_is_that_of_the_steps(bench: Bench) -> None:
    """Against the weights after each step, kept by another mitigation."""
    seen: list[dict[str, torch.Tensor]] = []

    class Keep(Mitigation):
        source = "this test"

        def recipe(self) -> dict[str, Any]:
            return {"class": "keep"}

        def begin(self, model: Any, context: Context) -> None:
            seen.append({name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad})

        def stepped(self, model: Any, loss: float, context: Context) -> bool:
            seen.append({name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad})
            return False

    bench.strategy = Full(lr=0.002)
    made = bench({**gentle(ema=0.75), "keep": Keep()})
    assert len(seen) == 9
    for name, first in seen[0].items():
        expected = first
        for later in seen[1:]:
            expected = 0.75 * expected + 0.25 * later[name]
        torch.testing.assert_close(made[name], expected)


def test_no_decay_keeps_the_last_weights(bench: Bench) -> None:
    assert same(bench({}), bench(gentle(ema=0.0)))


def test_it_stops_at_the_loss(bench: Bench) -> None:
    plain = bench.train({})
    losses = json.loads((plain.folder / "losses.json").read_text())
    limit = losses[3]
    layer = bench.train(gentle(stop_loss=limit))
    told = json.loads((layer.folder / "losses.json").read_text())
    expected = next(at for at, loss in enumerate(losses, 1) if loss <= limit)
    assert told == losses[:expected] and expected < len(losses)
    [stage] = [stage for stage in bench.house.stages if stage.get("steps") == expected]
    assert stage["final_loss"] == losses[expected - 1] and stage["tokens"] > 0


def test_an_average_survives_an_interruption(bench: Bench, elsewhere: Bench) -> None:
    whole = bench(gentle(ema=0.9))

    def die(point: str) -> None:
        if point == "step 5":
            raise OSError("the power is gone")

    set_fault(die)
    try:
        with pytest.raises(OSError, match="power"):
            elsewhere(gentle(ema=0.9))
    finally:
        set_fault(no_fault)
    assert same(whole, elsewhere(gentle(ema=0.9)))
    assert tensors(elsewhere.train(gentle(ema=0.9))).keys() == whole.keys()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"lr_factor": 0.0}, "lr_factor=0.0 is not possible; give more than 0"),
        ({"ema": 1.0}, "ema=1.0 is not possible; give at least 0 and less than 1"),
        ({"stop_loss": -1.0}, "stop_loss=-1.0 is not possible"),
    ],
)
def test_numbers_that_can_not_be(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gentle(**{**OFF, **fields}).check({})
    assert says in str(caught.value)
