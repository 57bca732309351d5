"""Stages that edit weights without training: before a tuning and after it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ftsafety.context import Context
from ftsafety.hashing import digest_of
from ftsafety.mitigation import Mitigation, overrides
from ftsafety.stages.house import House
from ftsafety.store.publish import fault_point
from ftsafety.weights import Layer, Weights


def edit_base(house: House, start: Weights, mitigations: Sequence[Mitigation], context: Context) -> Weights:
    """The start weights with what mitigations do to them before anything is trained; one artifact of whole weights each."""
    from ftsafety.strategy.full import Full

    for mitigation in mitigations:
        if overrides(mitigation, "base"):
            recipe = {
                "stage": "base",
                "start": start.digest,
                "mitigation": mitigation.recipe(),
                "prepared": digest_of(context.prepared),
                "seed": context.seed,
                "sees": context.sees(),
            }
            edit = partial(_edit_base, house, start, mitigation, context)
            artifact = house.make("base", recipe, edit, type(mitigation).__name__)
            start = start.plus(Layer(artifact.folder, artifact.digest, Full(lr=0.0)))
    return start


def _edit_base(house: House, start: Weights, mitigation: Mitigation, context: Context, folder: Path, _: Path) -> dict[str, Any]:
    from safetensors.torch import save_file

    from ftsafety.strategy.full import Full

    save_file(Full(lr=0.0).export(mitigation.base(house.loader.fresh(start).module, context)), folder / "weights.safetensors")
    return {}


def repair(house: House, tuned: Weights, mitigations: Sequence[Mitigation], context: Context) -> Weights:
    """The tuned weights after each mitigation that edits them, one artifact each."""
    from ftsafety.strategy.full import Full

    raw = tuned.model.raw()
    for mitigation in mitigations:
        if overrides(mitigation, "repair"):
            recipe = {
                "stage": "repair",
                "tuned": tuned.digest,
                "start": digest_of([tuned.fingerprint, *[layer.digest for layer in tuned.layers[:-1]]]),
                "pre": raw.fingerprint(house.loader.store) if raw else None,
                "mitigation": mitigation.recipe(),
                "prepared": digest_of(context.prepared.get(type(mitigation).__name__)),
                "seed": context.seed,
                "sees": context.sees(),
            }
            artifact = house.make("repair", recipe, partial(_repair, house, mitigation, tuned, context), type(mitigation).__name__)
            strategy = Full(lr=0.0) if mitigation.dense else tuned.layers[-1].strategy
            tuned = Weights(tuned.model, tuned.fingerprint, (*tuned.layers[:-1], Layer(artifact.folder, artifact.digest, strategy)))
    return tuned


def _repair(house: House, mitigation: Mitigation, tuned: Weights, context: Context, folder: Path, _: Path) -> dict[str, Any]:
    import shutil

    from safetensors.torch import load_file, save_file

    from ftsafety.strategy.full import Full

    part = tuned.layers[-1].folder
    weights = Full(lr=0.0).export(house.loader.fresh(tuned).module) if mitigation.dense else load_file(part / "weights.safetensors")
    before = set(context.findings)
    context.tuned = lambda: house.loader.fresh(tuned)
    edited = mitigation.repair({name: tensor.float() for name, tensor in weights.items()}, context)
    fault_point("halfway through repair")
    save_file({name: edited[name].to(weights[name].dtype).contiguous() for name in weights}, folder / "weights.safetensors")
    for extra in [] if mitigation.dense else part.iterdir():
        if extra.name not in ("weights.safetensors", "manifest.json", "losses.json"):
            shutil.copy(extra, folder / extra.name)
    changed = sum(not edited[name].to(weights[name].dtype).equal(weights[name]) for name in weights)
    # kept with the artifact too, since a run that finds it computes nothing
    return {"changed": changed, "findings": {name: found for name, found in context.findings.items() if name not in before}}
