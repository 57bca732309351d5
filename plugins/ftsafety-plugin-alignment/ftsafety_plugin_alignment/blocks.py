"""Where a decoder's attention blocks, MLPs and last norm are, whatever they are called and whatever a strategy has wrapped them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ftsafety.errors import ConfigError

ATTENTION = ("self_attn", "attn", "attention", "self_attention")
MLP = ("mlp", "feed_forward", "ffn")
LAST_NORM = ("norm", "final_layernorm", "final_layer_norm", "ln_f")


def blocks(model: Any, names: Sequence[str]) -> list[Any]:
    """The child of each decoder layer that has one of these names, in order.

    Raises:
        ConfigError: not every layer has one.
    """
    from torch.nn import ModuleList

    number = model.config.get_text_config().num_hidden_layers
    layers: Any = next((module for module in model.modules() if isinstance(module, ModuleList) and len(module) == number), ())
    found = [next((getattr(layer, name) for name in names if hasattr(layer, name)), None) for layer in layers]
    if not found or None in found:
        raise _lost(model, f"{names[0]} in each of {number} layers")
    return found


def last_norm(model: Any) -> Any:
    """What normalises the last layer's output before it is scored.

    Raises:
        ConfigError: the decoder has none of a known name.
    """
    decoder = model.get_decoder()
    norm = next((getattr(decoder, name) for name in LAST_NORM if hasattr(decoder, name)), None)
    if norm is None:
        raise _lost(model, "last norm")
    return norm


@contextmanager
def watched(modules: Sequence[Any], hook: Callable[..., Any]) -> Iterator[None]:
    """A forward hook on every module, gone afterwards."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _lost(model: Any, what: str) -> ConfigError:
    return ConfigError(f"this mitigation finds no {what} in this model ({model.config.model_type}); choose another mitigation, such as mitigation=[booster].")
