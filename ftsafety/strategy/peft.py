"""What every method of the peft library shares: a seeded start, a description without a machine's traces, a checked way back."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError
from ftsafety.strategy.base import Strategy, refuse_adapted, refuse_another

if TYPE_CHECKING:
    import torch

UNMERGED = frozenset({"gradients", "activations", "logits"})
"""What mitigations may ask for where the tuned weights are not those of a plain model."""


@dataclass(kw_only=True)
class Peft(Strategy):
    """A method of peft: a subclass turns its fields into peft's configuration, and says whether the result can be merged."""

    @abstractmethod
    def settings(self, model: Any) -> dict[str, Any]:
        """peft's configuration for a model as JSON data: ``peft_type``, and what the fields say; the same bytes on every machine."""

    def fits(self, model: Any) -> None:
        """Refuse a model that the method can't serve, before anything is changed.

        Raises:
            ConfigError: says what the model lacks.
        """

    def wrap(self, model: Any, config: Any) -> Any:
        """The model with an untrained adapter, ready for a forward pass."""
        from peft import get_peft_model

        try:
            return get_peft_model(model, config)
        except ValueError as error:
            sentence = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(
                f"{type(self).__name__} can't serve this model ({model.config.model_type}): {sentence}. Choose other values, or another strategy."
            ) from error

    def attach(self, model: Any, seed: int) -> Any:
        from peft import get_peft_config

        refuse_adapted(model)
        self.fits(model)
        with drawing_from(seed):
            return self.wrap(model, get_peft_config(self._description(model, inference=False)))

    def export(self, model: Any) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu().contiguous() for name, tensor in adapter_of(model).items()}

    def describe(self, model: Any, folder: Path) -> None:
        # peft's own writer would add this machine's path and list a set in a random order
        text = json.dumps(self._description(model, inference=True), indent=1)
        (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")

    def restore(self, model: Any, folder: Path) -> Any:
        refuse_adapted(model)
        self.fits(model)
        with drawing_from(0):
            wrapped = filled(self.wrap(model, config_in(folder)), folder)
        return wrapped.merge_and_unload() if self.merges else wrapped.eval()

    def _description(self, model: Any, inference: bool) -> dict[str, Any]:
        values = self.settings(model)
        return {"peft_type": values.pop("peft_type"), "task_type": "CAUSAL_LM", "inference_mode": inference, **values}


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """torch's own generator at a seed, and as it was afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def adapter_of(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors by name, as peft saves them."""
    from peft import get_peft_model_state_dict

    # embeddings are never trained here; "auto" would ask the hub whether their size has changed
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return found


def config_in(folder: Path) -> Any:
    """The peft configuration that a folder's ``adapter_config.json`` holds."""
    from peft import PeftConfig

    return PeftConfig.from_pretrained(str(folder))


def filled(wrapped: Any, folder: Path) -> Any:
    """A model whose adapter holds a folder's ``weights.safetensors``.

    Raises:
        ConfigError: an adapter of another model.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(folder / "weights.safetensors")
    refuse_another(folder, saved, adapter_of(wrapped))
    set_peft_model_state_dict(wrapped, saved)
    return wrapped


def require_layers(model: Any, names: Sequence[str], field: str, linear: bool = True) -> None:
    """Refuse names that no layer of the model has; peft leaves out what it does not find. ``field`` is where the person typed them.

    Raises:
        ConfigError: says which names the model has.
    """
    import torch

    kind = torch.nn.Linear if linear else torch.nn.Module
    found = {name.rpartition(".")[2] for name, module in model.named_modules() if name and isinstance(module, kind)}
    if unknown := sorted(set(names) - found):
        has = ", ".join(sorted(name for name in found if not name.isdigit()))
        raise ConfigError(f"strategy.{field}: this model has no {'linear ' * linear}layer named {', '.join(unknown)}; it has {has}.")
