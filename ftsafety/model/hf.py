"""Any chat model of the Hugging Face hub, or of a local folder in the same format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftsafety.component import describe
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.hashing import digest_of, digest_of_path
from ftsafety.model.base import Chat, Model

TEMPLATES = Path(__file__).parent.parent / "assets" / "templates"
WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")


@dataclass(kw_only=True)
class Hf(Model):
    """A causal language model with a chat template. Code from the hub is never run (``trust_remote_code`` is false)."""

    source = "transformers, AutoModelForCausalLM"

    name: str
    """Hub id such as meta-llama/Llama-2-7b-chat-hf, or a local folder."""
    revision: str | None = None
    """Branch, tag or commit on the hub; the commit it stands for is what is recorded."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the weights in memory."""
    chat_template: Path | None = None
    """For a tokenizer without a template or to replace its own: a shipped one by name, such as llama2.jinja, or a Jinja file."""
    device: str | None = None
    """cuda, cpu, ...; null takes a GPU where there is one."""

    not_in_recipe = frozenset({"chat_template", "device", "name", "revision"})

    def recipe(self) -> dict[str, Any]:
        return {**super().recipe(), "chat_template": describe(self._template()), "weights": self.fingerprint(Path())}

    def fingerprint(self, store: Path) -> str:
        folder = Path(self.name)
        if (folder / "adapter_config.json").exists():
            raise ConfigError(f"model.name={self.name} holds an adapter, not a model; merge it into its base (peft: merge_and_unload) first.")
        if folder.is_dir():
            files = sorted({file for pattern in WEIGHTS for file in folder.glob(pattern)})
            return digest_of([[file.name, digest_of_path(file)] for file in files] + [self.dtype])
        return digest_of([self.name, self._commit(), self.dtype])

    def config(self, store: Path) -> Any:
        from transformers import AutoConfig

        return self._from_pretrained(AutoConfig)

    def load_tokenizer(self, store: Path) -> Any:
        from transformers import AutoTokenizer

        tokenizer = self._from_pretrained(AutoTokenizer)
        if template := self._template():
            tokenizer.chat_template = template.read_text(encoding="utf-8")
        return tokenizer

    def load(self, store: Path) -> Chat:
        import torch
        from transformers import AutoModelForCausalLM

        module = self._from_pretrained(AutoModelForCausalLM, dtype=getattr(torch, self.dtype))
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return Chat(self.load_tokenizer(store), module.to(device).eval())

    def _template(self) -> Path | None:
        """The template's file; a shipped one wins over a file of that name in the working directory, so that a name means one thing."""
        if self.chat_template is None:
            return None
        shipped = TEMPLATES / self.chat_template.name
        found = shipped if self.chat_template.parent == Path() and shipped.is_file() else self.chat_template
        if not found.is_file():
            names = ", ".join(sorted(file.name for file in TEMPLATES.glob("*.jinja")))
            raise ConfigError(f"model.chat_template={self.chat_template} does not exist; give a Jinja file, or the name of a shipped one: {names}.")
        return found

    def _from_pretrained(self, factory: Any, **more: Any) -> Any:
        try:
            # remote code is never run: a model that needs it is refused by transformers with its own sentence
            return factory.from_pretrained(self.name, revision=self._commit() if not Path(self.name).is_dir() else None, trust_remote_code=False, **more)
        except (OSError, ValueError) as error:
            raise FtsafetyError(
                f"model.name={self.name} can't be loaded: {str(error).splitlines()[0]} Give a hub id that you have access to, or a local folder."
            ) from error

    def _commit(self) -> str:
        """The commit that the revision stands for: asked of the hub, or of the local cache when offline."""
        from huggingface_hub import HfApi, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError

        # the hub's own HTTP error is made of that of whichever library it asks by, which a refused connection raises bare
        unreachable: Any = (*HfHubHTTPError.__bases__, OfflineModeIsEnabled, OSError)
        if self.name.startswith((".", "/")):
            raise ConfigError(f"model.name={self.name} is not a folder; give a local folder with config.json and *.safetensors, or a hub id.")
        try:
            if not os.environ.get("HF_HUB_OFFLINE"):
                return str(HfApi().model_info(self.name, revision=self.revision).sha)
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise ConfigError(
                f"model.name={self.name} is neither a folder nor a model on the hub that you may see; mend the name, or log in with HF_TOKEN for gated models."
            ) from error
        except unreachable:
            pass
        try:
            cached = try_to_load_from_cache(self.name, "config.json", revision=self.revision)
        except HFValidationError as error:
            raise ConfigError(f"model.name={self.name} is neither a folder nor a hub id such as owner/name; mend it.") from error
        if not isinstance(cached, str):
            raise ConfigError(f"model.name={self.name} is not in the local cache and the hub can't be reached; give a local folder, or go online once.")
        return Path(cached).parent.name
