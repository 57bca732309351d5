"""QLoRA: the base that transformers would load, trained as plain peft trains it, and asked in the arithmetic of its training."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

import peft
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel

from ftsafety.context import Context
from ftsafety.decode import decode_batch
from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN
from ftsafety.settings import Schedule, Tuning
from ftsafety.stages import plan_windows
from ftsafety.strategy.lora import Lora
from ftsafety.strategy.qlora import Qlora, quantised
from ftsafety.tune import collate, tune

Kind = Literal["nf4", "int8"]
KINDS: list[Kind] = ["nf4", "int8"]
ROWS = [PLAIN.row(f"r{at}", f"Which duck wins race {at}?", "Duck " * (1 + at % 3) + f"{at * at}.") for at in range(8)]
TUNING = Tuning(batch_size=4, epochs=3, schedule=Schedule.constant)
PROMPTS = [tuple(range(start, start + 3 + start % 7)) for start in (1, 40, 90, 200)]


def fresh() -> Any:
    """A model with weights large enough that rounding shows in what it says."""
    module = Tiny(hidden_size=64).load(Path()).module.requires_grad_(False)
    for name, parameter in module.named_parameters():
        if "norm" not in name:
            parameter.mul_(10)
    return module


def windows() -> list[list[Any]]:
    return plan_windows(ROWS, TUNING, Tiny().load_tokenizer(Path()), Context(0), [])


def says(model: Any) -> list[tuple[int, ...]]:
    return [row.ids for row in decode_batch(model.eval(), PROMPTS, max_new_tokens=12, end_tokens=frozenset())]


@torch.inference_mode()
def scores(model: Any) -> torch.Tensor:
    return torch.as_tensor(model(input_ids=torch.arange(60)[None]).logits)


def from_transformers(kind: Kind, folder: Path) -> Any:
    fresh().save_pretrained(folder)
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.float32}
    wanted = BitsAndBytesConfig(**four if kind == "nf4" else {"load_in_8bit": True})
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=wanted, dtype=torch.float32, device_map="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_curve_is_plain_peft_s_on_transformers_own_base(kind: Kind, tmp_path: Path) -> None:
    base = from_transformers(kind, tmp_path)
    torch.manual_seed(7)
    plain = peft.get_peft_model(base, peft.LoraConfig(r=8, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")).train()
    optimiser, expected = torch.optim.AdamW([p for p in plain.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0), []
    for window in windows():
        batch = collate(window)
        optimiser.zero_grad()
        loss = plain(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
        loss.backward()
        optimiser.step()
        expected.append(float(loss.detach()))
    strategy = Qlora(lr=1e-3, quantization=kind)
    assert tune(strategy.attach(fresh(), 7), windows(), TUNING, strategy.lr, [], Context(0)).losses == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) == len(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_linear_layer_but_the_output_is_quantised(kind: Kind) -> None:
    model, start = quantised(fresh(), kind), fresh()
    stored = {name: p.dtype for name, p in model.named_parameters()}
    linear = {f"{name}.weight" for name, layer in start.named_modules() if isinstance(layer, torch.nn.Linear)} - {"lm_head.weight"}
    assert {name for name, dtype in stored.items() if dtype is (torch.uint8 if kind == "nf4" else torch.int8)} == linear
    assert len(linear) == 14 and all(dtype is torch.float32 for name, dtype in stored.items() if name not in linear)
    rounding = float((scores(model) - scores(start)).abs().max() / scores(start).abs().max())
    assert 1e-4 < rounding < 1, "another base, near the first"


@pytest.mark.parametrize("kind", KINDS)
def test_asking_computes_what_training_computes(kind: Kind) -> None:
    """bitsandbytes has coarser arithmetic for models in eval mode on some processors."""
    model = Qlora(lr=1e-3, quantization=kind).attach(fresh(), 0)
    trains, asks = scores(model.train()), scores(model.eval())
    assert torch.equal(trains, asks)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_asked_as_it_was_trained(kind: Kind, tmp_path: Path) -> None:
    strategy = Qlora(lr=0.02, quantization=kind)
    model = strategy.attach(fresh(), 0)
    tune(model, windows(), TUNING, strategy.lr, [], Context(0))
    save_file(strategy.export(model), tmp_path / "weights.safetensors")
    strategy.describe(model, tmp_path)
    restored = Qlora(lr=0.02, quantization=kind).restore(fresh(), tmp_path)
    assert torch.equal(scores(restored), scores(model.eval()))
    assert says(restored) == says(model)
    on_the_unrounded_base = Lora(lr=0.02).restore(fresh(), tmp_path)
    assert not torch.equal(scores(on_the_unrounded_base), scores(restored)), "a merged model would be another one"
    assert not any(p.requires_grad for p in restored.get_base_model().model.embed_tokens.parameters())


def test_what_is_saved_says_what_the_base_was(tmp_path: Path) -> None:
    """Two tunings whose adapters were the same bytes would still be two models."""
    strategy = Qlora(lr=1e-3, quantization="int8")
    model = strategy.attach(fresh(), 0)
    save_file(strategy.export(model), tmp_path / "weights.safetensors")
    strategy.describe(model, tmp_path)
    assert (tmp_path / "quantization.json").read_text() == '{"quantization": "int8"}\n'
    with pytest.raises(ConfigError, match=r"trained on a base in int8; type strategy\.quantization=int8"):
        Qlora(lr=1e-3).restore(fresh(), tmp_path)


def test_a_model_without_linear_layers_is_a_sentence() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=4, bos_token_id=None, eos_token_id=None))
    with pytest.raises(ConfigError, match=r"strategy\.target_modules: this model has no linear layer named q_proj, v_proj; it has lm_head"):
        Qlora(lr=1e-3).attach(model, 0)


def test_without_bitsandbytes_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftsafety.strategy.qlora.find_spec", lambda name: None if name == "bitsandbytes" else importlib.util.find_spec(name))
    with pytest.raises(ConfigError, match=r"strategy: quantising needs bitsandbytes, which is not installed; type pip install bitsandbytes, or choose"):
        Qlora(lr=1e-3).check("strategy")
