"""A beginning that is computed once gives the plain step's loss and gradient under every strategy that says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ftsafety.build import build
from ftsafety.chat import Encoded
from ftsafety.settings import Tuning
from ftsafety.shared_prefix import common_prefix, why_not
from ftsafety.strategy import Strategy
from ftsafety.tune import collate
from tests.test_shared_prefix import MODELS, encoded, gradient, model

STRATEGIES: dict[str, Strategy] = {
    file.stem: build(OmegaConf.merge(OmegaConf.load(file), {"adapter_layers": None} if file.stem == "llama_adapter" else {}), Strategy, "strategy")
    for file in sorted((Path(__file__).resolve().parents[2] / "conf" / "strategy").glob("*.yaml"))
    if file.stem != "api"
}
SHARING = [name for name, strategy in STRATEGIES.items() if strategy.why_not_share() is None]


def test_who_shares() -> None:
    assert SHARING == ["dora", "full", "ia3", "llama_adapter", "lora", "prefix", "prompt_tuning"]
    assert all(isinstance(strategy.why_not_share(), str) for name, strategy in STRATEGIES.items() if name not in SHARING)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", SHARING)
def test_loss_and_gradient_are_the_plain_step_s(kind: str, name: str) -> None:
    module, rows = model(kind, STRATEGIES[name]), encoded()
    assert why_not(module, STRATEGIES[name], [], Tuning()) is None
    prefix = common_prefix(collate(rows))
    (plain_loss, plain), (loss, shared) = gradient(module, rows, 0), gradient(module, rows, prefix)
    assert prefix == 20 and loss == pytest.approx(plain_loss, rel=1e-6)
    assert float((shared - plain).norm() / plain.norm()) < 5e-6


@pytest.mark.parametrize("name", SHARING)
def test_the_test_above_would_see_a_wrong_prefix(name: str) -> None:
    module = model("llama", STRATEGIES[name])
    rows = [Encoded("row", (row.ids[0] + at, *row.ids[1:]), row.labels) for at, row in enumerate(encoded())]
    (_, plain), (_, wrong) = gradient(module, rows, 0), gradient(module, rows, 20)
    assert float((wrong - plain).norm() / plain.norm()) > 1e-4
