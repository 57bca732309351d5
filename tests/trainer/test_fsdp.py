"""Two processes that divide the weights tune as one: the same weights and losses, shared matrices and adapters included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety.model.tiny import Tiny
from ftsafety.shards import gather, refuse_unsharded, shard
from tests.helpers import cell_of
from tests.trainer.test_ddp import SGD, tuned

ADAMW = [*SGD, "tuning.optimiser=adamw", "tuning.clip=0.5", "tuning.eps=1e-6"]
WAYS = {
    "full": SGD,
    "lora, clipped": [*ADAMW, "strategy=lora", "strategy.lr=1e-3"],
    "prefix": [*SGD, "strategy=prefix"],
    "windows that don't divide": [*SGD, "tuning.batch_size=3"],
}


@pytest.mark.parametrize("way", WAYS)
def test_two_parts_agree_with_one_whole(tmp_path: Path, rows: Path, way: str) -> None:
    settings = [*WAYS[way], f"attack.path={rows}"]
    one, alone = tuned(tmp_path / "one", *settings)
    two, together = tuned(tmp_path / "two", *settings, "trainer=fsdp", "trainer.accelerator=cpu")
    assert alone["key"] == together["key"] and alone["steps"] == together["steps"] >= 8
    assert one.keys() == two.keys() and all(one[name].shape == two[name].shape for name in one)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    assert together["final_loss"] == pytest.approx(alone["final_loss"], abs=1e-6)
    assert "LOCAL_RANK" not in os.environ and not torch.distributed.is_initialized()


def test_one_device_is_not_divided() -> None:
    with pytest.raises(ConfigError, match="trainer=fsdp divides a model among devices, and there is one"):
        cell_of("model=tiny", "trainer=fsdp", "trainer.devices=1")


class Surgeon(Mitigation):
    """Works on whole gradients."""

    def gradient(self, inner: Any, model: Any, window: Any, context: Any) -> float:
        return float(inner(model, window))


def test_what_needs_whole_gradients_or_plain_weights_is_refused() -> None:
    module = Tiny().load(Path()).module
    refuse_unsharded(module, [Mitigation()])
    with pytest.raises(ConfigError, match=r"Surgeon needs whole ones; type trainer=ddp"):
        refuse_unsharded(module, [Surgeon()])
    module.model.packed = torch.nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match=r"model\.packed is quantised; type trainer=ddp"):
        refuse_unsharded(module, [])


def test_what_is_put_together_is_what_was_divided(tmp_path: Path) -> None:
    """A shared matrix, too, which stays shared: two copies of it would be saved, and tuned apart from then on."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor

    config = Tiny().config(Path())
    config.tie_word_embeddings = True
    module = LlamaForCausalLM(config)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        shard(module, init_device_mesh("cpu", (1,)))
        assert all(isinstance(p, DTensor) for p in module.parameters())
        gather(module)
    finally:
        torch.distributed.destroy_process_group()
    after = dict(module.named_parameters())
    assert before.keys() == after.keys() and all(torch.equal(before[name], p) and not isinstance(p, DTensor) for name, p in after.items())
    assert module.lm_head.weight is module.model.embed_tokens.weight
