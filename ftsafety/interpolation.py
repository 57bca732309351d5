"""``${embedded:A,B}`` in an option's YAML: A with the embedded model, B with every other.

What moves a model of 135 million parameters would destroy one of seven thousand million, and what the paper used for the
large one leaves the small one as it was; so a default that depends on the model says both, side by side.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

EMBEDDED = frozenset({"ftsafety.model.stand_in_aligned.StandInAligned", "ftsafety.model.smollm2_135m.Smollm2135m"})


def for_embedded(small: Any, other: Any, *, _root_: DictConfig) -> Any:
    """``small`` where the configuration's model is the embedded one, raw or aligned; ``other`` elsewhere, and where there is no model."""
    return small if OmegaConf.select(_root_, "model._target_", default=None) in EMBEDDED else other


def register() -> None:
    """Make the interpolation known to OmegaConf, as often as one likes."""
    OmegaConf.register_new_resolver("embedded", for_embedded, replace=True)
