"""The training curve: loss, learning rate and gradient norm of each optimiser step, and the few points of it that a record keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

POINTS = 200
"""Most points that are kept; a figure shows no more."""
DIGITS = 6


@dataclass(frozen=True)
class Step:
    """One optimiser step: loss in nats per labelled token, learning rate, norm of the gradient before it is clipped.

    None is not known, as of the steps that a tuning of another version had done.
    """

    loss: float
    learning_rate: float | None = None
    gradient_norm: float | None = None


NAMES = tuple(field.name for field in fields(Step))


def thinned(curve: Sequence[Step], most: int = POINTS) -> dict[str, list[Any]]:
    """``step`` (from 1) and a list for each quantity that is known: the first step, the last one and evenly spaced ones between, as JSON data."""
    last = len(curve) - 1
    kept = sorted({round(at * last / (most - 1)) for at in range(most)}) if last >= most else list(range(len(curve)))
    columns: dict[str, list[Any]] = {"step": [at + 1 for at in kept]}
    for name, values in zip(NAMES, zip(*(astuple(curve[at]) for at in kept), strict=True), strict=True):
        if any(value is not None for value in values):
            columns[name] = [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]
    return columns


def points(kept: Mapping[str, Sequence[Any]]) -> list[tuple[int, dict[str, float]]]:
    """What ``thinned`` kept, step by step: its number, and what is known of it by name."""
    return [
        (step, {name: kept[name][at] for name in kept if name != "step" and kept[name][at] is not None}) for at, step in enumerate(kept["step"])
    ]  # fmt: skip


def name_of(kind: str, earlier: int) -> str:
    """What a tuning's curve is called in its run: the kind of its stage, and a number after the first of a kind."""
    return f"{kind}_{earlier + 1}" if earlier else kind


def of_record(stages: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """The curves of a record's stages by name; records of earlier versions have none."""
    found: dict[str, dict[str, list[Any]]] = {}
    for at, stage in enumerate(stages):
        if kept := stage.get("curve"):
            found[name_of(stage["stage"], sum(one["stage"] == stage["stage"] for one in stages[:at]))] = kept
    return found
