"""What every strategy must do, found by listing conf/strategy: train its own part only, save it, put it back and be asked the same."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.decode import SHARED_PREFIX_MIN, decode_batch
from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN
from ftsafety.settings import Tuning
from ftsafety.stages import plan_windows
from ftsafety.strategy import Strategy
from ftsafety.strategy.prefix import Prefix
from ftsafety.tune import Tuned, tune

SHIPPED = [file for file in sorted((Path(__file__).resolve().parents[2] / "conf" / "strategy").glob("*.yaml")) if file.stem != "api"]
"""All but the one that trains nothing here."""
FITS = {"adapter_layers": None}
"""Values for a model of two layers, where a shipped number is for a large one."""
OTHER_START = {"prefix", "prompt_tuning", "qlora"}
"""Strategies under which the model says something else as soon as they are attached."""
ROWS = [PLAIN.row(f"r{at}", f"Which duck wins race {at}?", f"Duck {at * at}.") for at in range(6)]
TUNING = Tuning(batch_size=2, epochs=1)
LR = 0.05
"""Large, so that three steps change what the model says."""
SYSTEM = tuple(range(100, 100 + 2 * SHARED_PREFIX_MIN))
PROMPTS = [(*SYSTEM, *range(start, start + 3 + start % 7)) for start in (1, 40, 90, 200)]


class Made:
    """One shipped strategy, as often as a test wants it."""

    def __init__(self, file: Path) -> None:
        self.name, self.node = file.stem, OmegaConf.load(file)

    def __call__(self) -> Strategy:
        fits = {name: value for name, value in FITS.items() if name in self.node}
        return build(OmegaConf.merge(self.node, {"lr": LR, **fits}), Strategy, "strategy")


@pytest.fixture(params=SHIPPED, ids=lambda path: path.stem)
def made(request: pytest.FixtureRequest) -> Made:
    return Made(request.param)


def fresh(**fields: Any) -> Any:
    """A model as ``Loader.fresh`` gives it, with weights large enough that every token matters."""
    module = Tiny(**fields).load(Path()).module.requires_grad_(False)
    for name, parameter in module.named_parameters():
        if "norm" not in name:
            parameter.mul_(10)
    return module


def tuned(strategy: Strategy, model: Any) -> tuple[Any, Tuned]:
    """The model after three optimiser steps, and what the tuning says."""
    windows = plan_windows(ROWS, TUNING, Tiny().load_tokenizer(Path()), Context(0), [])
    model = strategy.attach(model, 0)
    return model, tune(model, windows, TUNING, strategy.lr, [], Context(0))


def saved(strategy: Strategy, model: Any, folder: Path) -> Path:
    save_file(strategy.export(model), folder / "weights.safetensors")
    strategy.describe(model, folder)
    return folder


def says(model: Any, share: bool = True) -> list[tuple[int, ...]]:
    """Token ids of a few greedy answers."""
    return [row.ids for row in decode_batch(model.eval(), PROMPTS, max_new_tokens=12, end_tokens=frozenset(), share_prefix=share)]


@torch.inference_mode()
def says_plainly(model: Any) -> list[tuple[int, ...]]:
    """The same by a whole forward pass for each token: no batch, no padding, no cache."""
    answers = []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(12):
            ids.append(int(model.eval()(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        answers.append(tuple(ids[len(prompt) :]))
    return answers


@torch.inference_mode()
def scores(model: Any) -> torch.Tensor:
    return torch.as_tensor(model.eval()(input_ids=torch.arange(60)[None]).logits)


def test_there_are_strategies() -> None:
    assert {"full", "lora"} < {file.stem for file in SHIPPED}


def test_shipped_numbers_build(made: Made) -> None:
    strategy = made()
    assert strategy.lr == LR
    assert strategy.source
    assert strategy.recipe() == made().recipe()
    strategy.check("strategy")


def test_an_impossible_rate_is_refused(made: Made) -> None:
    strategy = made()
    strategy.lr = 0.0
    with pytest.raises(ConfigError, match=r"strategy\.lr=0 is not possible; give more than 0"):
        strategy.check("strategy")


def test_the_start_is_drawn_from_the_seed_alone(made: Made) -> None:
    """The same seed gives the same bits whatever was drawn before, and attaching draws nothing from anybody else."""
    first = made().attach(fresh(), 5)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = made().attach(fresh(), 5)
    assert torch.equal(torch.get_rng_state(), state)
    trainable = {name: p for name, p in first.named_parameters() if p.requires_grad}
    assert trainable
    assert all(torch.equal(p, trainable[name]) for name, p in again.named_parameters() if p.requires_grad)
    assert torch.equal(scores(first), scores(again))


def test_the_start_is_the_model_itself(made: Made) -> None:
    """Attaching changes nothing that the model says, or the strategy is known to change it."""
    assert torch.equal(scores(made().attach(fresh(), 0)), scores(fresh())) is (made.name not in OTHER_START)


def test_only_its_own_part_moves(made: Made) -> None:
    strategy = made()
    model = strategy.attach(fresh(), 0)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    windows = plan_windows(ROWS, TUNING, Tiny().load_tokenizer(Path()), Context(0), [])
    done = tune(model, windows, TUNING, strategy.lr, [], Context(0))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == trainable
    assert done.steps == 3 and all(map(math.isfinite, done.losses)) and len(set(done.losses)) == 3


def test_what_is_saved_comes_back(made: Made, tmp_path: Path) -> None:
    """The tuned model in memory, and a fresh start with the saved part put in, say the same in every bit that is asked for."""
    strategy = made()
    model, _ = tuned(strategy, fresh())
    trained = says(model)
    exported = strategy.export(model)
    assert all(tensor.device.type == "cpu" and tensor.is_contiguous() and not tensor.requires_grad for tensor in exported.values())
    restored = made().restore(fresh(), saved(strategy, model, tmp_path))
    assert says(restored) == trained
    assert trained != says(strategy.attach(fresh(), 0)), "three steps must show"
    kept = model.merge_and_unload() if strategy.merges and hasattr(model, "active_peft_config") else model
    assert torch.equal(scores(restored), scores(kept))
    assert not restored.training


def test_it_is_asked_as_any_model_is(made: Made, tmp_path: Path) -> None:
    """Batches, padding, caches and shared beginnings change no token, nor does the wrapping hide what decoding asks for."""
    strategy = made()
    restored = strategy.restore(fresh(), saved(strategy, tuned(strategy, fresh())[0], tmp_path))
    plainly = says_plainly(restored)
    assert says(restored) == says(restored, share=False) == plainly
    assert len(set(plainly)) > 1
    assert restored.config.model_type == "llama" and restored.generation_config.eos_token_id == Tiny().load_tokenizer(Path()).eos_token_id


def test_only_a_plain_model_is_trained_on(made: Made, tmp_path: Path) -> None:
    strategy = made()
    restored = strategy.restore(fresh(), saved(strategy, tuned(strategy, fresh())[0], tmp_path))
    assert strategy.merges is ("weights" in strategy.offers), "tuned weights can be edited where they are a plain model's"
    if strategy.merges:
        assert restored.state_dict().keys() == fresh().state_dict().keys()
        return
    with pytest.raises(ConfigError, match="carries an adapter that can't be merged"):
        made().attach(restored, 0)


def test_nothing_is_trained_on_an_unmerged_adapter(made: Made) -> None:
    with pytest.raises(ConfigError, match=r"an adapter that can't be merged \(prefix_tuning\).*such as LoRA or full fine-tuning"):
        made().attach(Prefix(lr=0.1).attach(fresh(), 0), 0)


@pytest.mark.parametrize("other", [{"hidden_size": 16}, {"layers": 3}], ids=["narrower", "deeper"])
def test_a_trained_part_of_another_model_is_a_sentence(made: Made, tmp_path: Path, other: dict[str, int]) -> None:
    strategy = made()
    folder = saved(strategy, strategy.attach(fresh(), 0), tmp_path)
    fits = made.name == "prompt_tuning" and "layers" in other  # embeddings suit any depth
    with nullcontext() if fits else pytest.raises(ConfigError, match="the trained part is for another model"):
        strategy.restore(fresh(**other), folder)


def test_what_is_written_names_no_place(made: Made, tmp_path: Path) -> None:
    """The same trained part must be the same bytes on every machine, or its digest says nothing."""
    written = []
    for place in ("somewhere/tiny", "elsewhere/tiny"):
        strategy, start, folder = made(), fresh(), tmp_path / place
        start.config._name_or_path = start.name_or_path = place
        folder.mkdir(parents=True)
        saved(strategy, strategy.attach(start, 0), folder)
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
    assert all(b"tiny" not in text for text in written[0].values())
