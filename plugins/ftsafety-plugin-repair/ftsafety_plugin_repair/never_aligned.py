"""Edits that compare the start model with what it was before it was aligned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.model import Model
from ftsafety_plugin_repair.edit import Tensors, WeightEdit, refuse_weightless, weights_of

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class NeverAligned(WeightEdit):
    """Base of the edits that need the never-aligned model; it is looked up before anything is tuned."""

    needs = frozenset({"weights", "pre"})

    raw: Model | None = None
    """The pre-trained model that the start model was aligned from; null takes the start model's own, where it names one."""

    @property
    def idle(self) -> bool:
        """Whether the fields say that nothing is to be edited."""
        return False

    def check(self, judges: Mapping[str, Judge]) -> None:
        refuse_weightless(self.raw, f"{self.option}.raw")

    def prepare(self, context: Context) -> dict[str, Any]:
        """Nothing to remember: a missing or wrong never-aligned model is refused here, and not after hours of tuning."""
        if not self.idle:
            aligned, raw = context.weights("al"), self.never_aligned(context)
            if all(name in raw and raw[name].to(tensor.device).equal(tensor) for name, tensor in aligned.items()):
                raise ConfigError(
                    f"{self.option} compares the start model with its never-aligned version, and the two are the same; an adapter's frozen base is the "
                    f"aligned model, so give the pre-trained one with {self.option}.raw."
                )
        return {}

    def never_aligned(self, context: Context) -> Tensors:
        """The never-aligned model's weights by name.

        Raises:
            ConfigError: the start model does not say what it was made from.
        """
        if self.raw is not None:
            return weights_of(self.raw)
        try:
            return context.weights("pre")
        except FtsafetyError as error:
            raise ConfigError(f"{self.option}: {error} Or name them: '{self.option}.raw={{_target_:ftsafety.model.hf.Hf,name:HUB_ID_OR_FOLDER}}'.") from error
