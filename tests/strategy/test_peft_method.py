"""Further methods of peft: each listed one trains, is saved and comes back; what peft does not take is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from safetensors.torch import save_file

from ftsafety.context import Context
from ftsafety.decode import decode_batch
from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN
from ftsafety.settings import Tuning
from ftsafety.stages import plan_windows
from ftsafety.strategy.peft_method import PeftMethod
from ftsafety.tune import tune

METHODS = get_args(get_type_hints(PeftMethod)["method"])
OPTIONS: dict[str, dict[str, Any]] = {
    "ln_tuning": {"target_modules": ["input_layernorm", "norm"]},
    "loha": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "lokr": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "oft": {"oft_block_size": 8, "target_modules": ["q_proj", "v_proj"]},
    "vera": {"r": 16, "target_modules": ["q_proj", "v_proj"]},
}
ROWS = [PLAIN.row(f"r{at}", f"Which duck wins race {at}?", f"Duck {at * at}.") for at in range(6)]
TUNING = Tuning(batch_size=2, epochs=1)


def fresh() -> Any:
    module = Tiny().load(Path()).module.requires_grad_(False)
    for name, parameter in module.named_parameters():
        if "norm" not in name:
            parameter.mul_(10)
    return module


def says(model: Any) -> list[tuple[int, ...]]:
    prompts = [tuple(range(start, start + 3 + start % 7)) for start in (1, 40, 90, 200)]
    return [row.ids for row in decode_batch(model.eval(), prompts, max_new_tokens=12, end_tokens=frozenset())]


@pytest.mark.parametrize("method", METHODS)
def test_trains_and_comes_back(method: Any, tmp_path: Path) -> None:
    strategy = PeftMethod(lr=0.1, method=method, options=OPTIONS[method])
    strategy.check("strategy")
    model = strategy.attach(fresh(), 3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    windows = plan_windows(ROWS, TUNING, Tiny().load_tokenizer(Path()), Context(0), [])
    losses = tune(model, windows, TUNING, strategy.lr, [], Context(0)).losses
    assert len(set(losses)) == 3 and losses[-1] != losses[0]
    assert {name for name, p in model.named_parameters() if not torch.equal(p, before[name])} == {
        name for name, p in model.named_parameters() if p.requires_grad
    }
    save_file(strategy.export(model), tmp_path / "weights.safetensors")
    strategy.describe(model, tmp_path)
    restored = strategy.restore(fresh(), tmp_path)
    assert says(restored) == says(model) != says(fresh())


def test_unknown_options_are_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.options: peft's VERA does not take them \(.*unexpected keyword argument 'rank'\)"):
        PeftMethod(lr=0.1, method="vera", options={"rank": 4}).check("strategy")


def test_an_unknown_layer_is_a_sentence_though_another_is_known() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.options\.target_modules: this model has no layer named wq; it has"):
        PeftMethod(lr=0.1, method="vera", options={"target_modules": ["q_proj", "wq"]}).attach(fresh(), 0)


def test_the_order_of_options_is_nothing() -> None:
    one, other = {"r": 4, "vera_dropout": 0.0}, {"vera_dropout": 0.0, "r": 4}
    assert PeftMethod(lr=0.1, method="vera", options=one).recipe() == PeftMethod(lr=0.1, method="vera", options=other).recipe()
