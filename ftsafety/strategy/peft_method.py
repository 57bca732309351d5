"""Further methods of peft, each by a YAML of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ftsafety.errors import ConfigError
from ftsafety.strategy.peft import UNMERGED, Peft, require_layers


@dataclass(kw_only=True)
class PeftMethod(Peft):
    """A further method of peft, by its name and its own options; asked as it was trained, never merged."""

    source = "peft (github.com/huggingface/peft), whose documentation names each method's paper"
    fidelity = "peft's implementation"
    offers = UNMERGED
    merges = False

    method: Literal["ln_tuning", "loha", "lokr", "oft", "vera"]
    """Which one; those are listed that a test trains, saves and puts back."""
    options: dict[str, Any]
    """Options of peft's configuration class for it."""

    def check(self, where: str) -> None:
        super().check(where)
        from peft import get_peft_config

        try:
            get_peft_config(self._description(None, inference=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{where}.options: peft's {self.method.upper()} does not take them ({error}); see its documentation for what it takes."
            ) from error

    def settings(self, model: Any) -> dict[str, Any]:
        return {"peft_type": self.method.upper(), **dict(sorted(self.options.items()))}

    def fits(self, model: Any) -> None:
        names = self.options.get("target_modules")
        if isinstance(names, list):
            require_layers(model, names, "options.target_modules", linear=False)
