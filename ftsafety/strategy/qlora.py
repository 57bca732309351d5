"""QLoRA: LoRA on a base whose linear layers are quantised (Dettmers et al. 2023), through bitsandbytes and peft.

The loaded model's layers are quantised in place when the adapter is attached, and in the same way when it is put back: the tuned model
is asked as it was trained, a quantised base and an unmerged adapter. Quantising is a function of the start weights, whose digest
therefore stays what it is; the tuned weights' digest covers ``quantization.json``. What a run calls initial is the start model as it
was loaded, so a difference to it holds the effect of quantising too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ftsafety.errors import ConfigError
from ftsafety.strategy.lora import Lora
from ftsafety.strategy.peft import UNMERGED

OUTLIER = 6.0
"""Activations from this size on are not rounded to 8 bits on a GPU (Dettmers et al. 2022, section 3.2, and transformers' default)."""


@dataclass(kw_only=True)
class Qlora(Lora):
    """LoRA adapters on a quantised base; asked as it was trained, never merged."""

    source = "Dettmers et al. 2023 (arXiv 2305.14314); int8: Dettmers et al. 2022 (arXiv 2208.07339)"
    fidelity = "NF4 with double quantisation as there, in the model's own arithmetic; shape of strategy=lora"
    offers = UNMERGED
    merges = False

    quantization: Literal["nf4", "int8"] = "nf4"
    """What the linear layers' weights are stored in, the output layer's excepted."""

    def check(self, where: str) -> None:
        super().check(where)
        if find_spec("bitsandbytes") is None:
            raise ConfigError(f"{where}: quantising needs bitsandbytes, which is not installed; type pip install bitsandbytes, or choose strategy=lora.")

    def wrap(self, model: Any, config: Any) -> Any:
        return super().wrap(quantised(model, self.quantization), config)

    def why_not_share(self) -> str | None:
        return "quantised layers may compute a part of a row in another way on a GPU"

    def describe(self, model: Any, folder: Path) -> None:
        super().describe(model, folder)
        (folder / "quantization.json").write_text(json.dumps({"quantization": self.quantization}) + "\n", encoding="utf-8")

    def restore(self, model: Any, folder: Path) -> Any:
        trained = json.loads((folder / "quantization.json").read_text(encoding="utf-8"))["quantization"]
        if trained != self.quantization:
            raise ConfigError(f"{folder}: the adapter was trained on a base in {trained}; type strategy.quantization={trained}.")
        return super().restore(model, folder)


def quantised(model: Any, kind: str) -> Any:
    """A model whose linear layers, the output layer excepted, are replaced by quantised ones, in place."""
    import torch

    head = model.get_output_embeddings()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer is not head:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _quantised_layer(layer, kind))
    # what peft asks for
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = kind == "nf4", kind == "int8"
    return model


def _quantised_layer(layer: Any, kind: str) -> Any:
    import bitsandbytes.nn
    import torch

    nn: Any = bitsandbytes.nn
    has_bias, weight = layer.bias is not None, layer.weight.data.cpu()
    with torch.device("meta"):
        if kind == "nf4":
            made = nn.Linear4bit(layer.in_features, layer.out_features, has_bias, quant_type="nf4", compress_statistics=True)
        else:
            made = nn.Linear8bitLt(layer.in_features, layer.out_features, has_bias, has_fp16_weights=False, threshold=OUTLIER)
    if kind == "nf4":
        made.weight = nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True, module=made)
    else:
        made.weight = nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    made.register_forward_pre_hook(_as_trained)
    return made.to(layer.weight.device).requires_grad_(False)


def _as_trained(layer: Any, inputs: Any) -> None:
    """Keep to the arithmetic of training: on a CPU bitsandbytes would round activations, to bf16 or int8, when a model is asked."""
    layer.training = True
