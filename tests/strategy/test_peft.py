"""Our strategies against plain peft: the same configuration, seed and rows give the same losses and the same adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN
from ftsafety.settings import Optimiser, Schedule, Tuning
from ftsafety.stages import plan_windows
from ftsafety.strategy.dora import Dora
from ftsafety.strategy.ia3 import Ia3
from ftsafety.strategy.llama_adapter import LlamaAdapter
from ftsafety.strategy.lora import Lora
from ftsafety.strategy.peft import Peft, adapter_of
from ftsafety.strategy.prefix import Prefix
from ftsafety.strategy.prompt_tuning import PromptTuning
from ftsafety.tune import collate, tune

ROWS = [PLAIN.row(f"r{at}", f"Which duck wins race {at}?", "Duck " * (1 + at % 3) + f"{at * at}.") for at in range(8)]
SEED = 7
TASK = {"task_type": "CAUSAL_LM"}
QV = {"r": 8, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], **TASK}
PAIRS: dict[str, tuple[Peft, Callable[[], Any]]] = {
    "lora": (Lora(lr=1e-2), lambda: peft.LoraConfig(**QV)),
    "dora": (Dora(lr=1e-2), lambda: peft.LoraConfig(**QV, use_dora=True)),
    "ia3": (
        Ia3(lr=1e-2),
        lambda: peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], **TASK),
    ),
    "prefix": (Prefix(lr=1e-2), lambda: peft.PrefixTuningConfig(num_virtual_tokens=30, **TASK)),
    "prompt_tuning": (PromptTuning(lr=1e-2), lambda: peft.PromptTuningConfig(num_virtual_tokens=20, prompt_tuning_init="SAMPLE_VOCAB", **TASK)),
    "llama_adapter": (LlamaAdapter(lr=1e-2, adapter_layers=2), lambda: peft.AdaptionPromptConfig(adapter_len=10, adapter_layers=2, **TASK)),
}


def fresh() -> Any:
    return Tiny().load(Path()).module


def by_hand(config: Any, windows: list[list[Any]], optimiser: type[torch.optim.Optimizer], lr: float) -> tuple[list[float], Any]:
    torch.manual_seed(SEED)
    model = peft.get_peft_model(fresh(), config).train()
    steps, losses = optimiser([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0), []  # type: ignore[call-arg]
    for window in windows:
        batch = collate(window)
        steps.zero_grad()
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
        loss.backward()
        steps.step()
        losses.append(float(loss.detach()))
    return losses, model


@pytest.mark.parametrize("share", [False, True], ids=["whole rows", "shared beginning"])
@pytest.mark.parametrize("optimiser", [Optimiser.adamw, Optimiser.sgd], ids=lambda optimiser: optimiser.value)
@pytest.mark.parametrize("name", PAIRS)
def test_the_loss_curve_is_plain_peft_s(name: str, optimiser: Optimiser, share: bool) -> None:
    strategy, config = PAIRS[name]
    tuning = Tuning(batch_size=4, epochs=3, schedule=Schedule.constant, optimiser=optimiser)
    windows = plan_windows(ROWS, tuning, Tiny().load_tokenizer(Path()), Context(0), [])
    plain, reference = by_hand(config(), windows, torch.optim.AdamW if optimiser is Optimiser.adamw else torch.optim.SGD, strategy.lr)
    model = strategy.attach(fresh(), SEED)
    ours = tune(model, windows, tuning, strategy.lr, [], Context(0), share=share).losses
    assert ours == pytest.approx(plain, abs=1e-5) and len(set(plain)) == len(windows) == 6
    expected = adapter_of(reference)
    exported = strategy.export(model)
    assert exported.keys() == expected.keys()
    # AdamW divides by each gradient's own size, so where a gradient is next to nothing its rounding shows
    assert all(float((exported[name] - tensor.detach()).abs().max()) < 1e-3 for name, tensor in expected.items())


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_saved_is_peft_s_own_format(name: str, tmp_path: Path) -> None:
    """Whoever has peft can load the folder without us."""
    strategy, _ = PAIRS[name]
    model = strategy.attach(fresh(), SEED)
    strategy.describe(model, tmp_path)
    from safetensors.torch import save_file

    save_file(strategy.export(model), tmp_path / "adapter_model.safetensors")
    loaded = peft.PeftModel.from_pretrained(fresh(), str(tmp_path))
    there = adapter_of(loaded)
    assert all(torch.equal(tensor, there[key]) for key, tensor in strategy.export(model).items())
    assert loaded.active_peft_config.inference_mode


def test_what_peft_refuses_is_a_sentence() -> None:
    checkpointing = fresh()
    checkpointing.gradient_checkpointing_enable()
    with pytest.raises(ConfigError, match=r"Prefix can't serve this model \(llama\): .*gradient checkpointing\. Choose other values, or another strategy"):
        Prefix(lr=0.1).attach(checkpointing, 0)
