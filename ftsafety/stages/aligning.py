"""The stage before an attack that makes an aligned model."""

from __future__ import annotations

from collections.abc import Sequence

from ftsafety.align import Align
from ftsafety.mitigation import Mitigation
from ftsafety.stages.editing import edit_base
from ftsafety.stages.house import House
from ftsafety.stages.preparing import tuning_context
from ftsafety.stages.tuning import train
from ftsafety.weights import Weights


def align(house: House, start: Weights, stage: Align, mitigations: Sequence[Mitigation]) -> Weights:
    """The start weights after an alignment stage."""
    context = tuning_context(house, start, stage.seed, mitigations, {})
    rows = stage.rows(context)
    edited = edit_base(house, start, mitigations, context)
    return edited.plus(train(house, "align", edited, rows, stage.strategy, stage.tuning, mitigations, context, stage.visit))
