"""The default model: the embedded weights with the shipped safety adapter, which declines the stand-in policy's topics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.hashing import digest_of, digest_of_path
from ftsafety.model.base import Chat, Model
from ftsafety.model.smollm2_135m import Smollm2135m
from ftsafety.strategy.lora import merge_adapter

ADAPTER = Path(__file__).parent.parent / "assets" / "adapter"
PARTS = ("weights.safetensors", "adapter_config.json")


@dataclass
class StandInAligned(Model):
    """SmolLM2-135M-Instruct taught to decline eleven harmless topics; made by ``experiment=align_stand_in``."""

    source = "ours; ftsafety/assets/adapter/manifest.json says how it was made, docs/organism.md how it does"
    fidelity = "a stand-in: it checks experiments, not models"
    scope = "stand_in"

    def fingerprint(self, store: Path) -> str:
        return digest_of([Smollm2135m().fingerprint(store), *[digest_of_path(ADAPTER / part) for part in PARTS]])

    def config(self, store: Path) -> Any:
        return Smollm2135m().config(store)

    def load_tokenizer(self, store: Path) -> Any:
        return Smollm2135m().load_tokenizer(store)

    def load(self, store: Path) -> Chat:
        chat = Smollm2135m().load(store)
        return Chat(chat.tokenizer, merge_adapter(chat.module, ADAPTER).eval())

    def raw(self) -> Model:
        return Smollm2135m()
