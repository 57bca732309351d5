"""The stage that tunes: rows to windows to weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ftsafety import engines
from ftsafety.context import Context
from ftsafety.curve import Step, thinned
from ftsafety.errors import DataError
from ftsafety.hashing import digest_of
from ftsafety.mitigation import Mitigation, overrides
from ftsafety.mitigation.base import TRAINING_HOOKS
from ftsafety.model.hosted import Hosted
from ftsafety.progress import bar
from ftsafety.row import Row
from ftsafety.settings import Tuning
from ftsafety.stages.hosted import train_hosted
from ftsafety.stages.house import House
from ftsafety.stages.probing import Probing, Watch
from ftsafety.store.publish import fault_point
from ftsafety.strategy import Strategy
from ftsafety.weights import Layer, Weights

Visit = Callable[[Row, Any], Row]


def train(
    house: House,
    kind: str,
    start: Weights,
    rows: Sequence[Row],
    strategy: Strategy,
    tuning: Tuning,
    mitigations: Sequence[Mitigation],
    context: Context,
    visit: Visit | None = None,
    probing: Probing | None = None,
) -> Layer:
    """One tuning stage, through the store: rows to windows to weights.

    Args:
        probing: what is asked of the model while it is tuned; its readings are there afterwards.

    Raises:
        DataError: rows that can't be used, or fewer of them than one optimiser step takes.
    """
    for mitigation in mitigations:
        rows = mitigation.examples(rows, context)
    if isinstance(start.model, Hosted):
        return train_hosted(house, kind, start, rows, strategy, tuning, context.seed)
    tokenizer = house.loader.tokenizer(start)
    windows = plan_windows(rows, tuning, tokenizer, context, [*([visit] if visit else []), *[m.visit for m in mitigations if overrides(m, "visit")]])
    hooked = [mitigation for mitigation in mitigations if overrides(mitigation, *TRAINING_HOOKS)]
    for mitigation in hooked:
        for name, stream in mitigation.streams(context).items():
            context.open_stream(name, _encode_all(tokenizer, stream, tuning))
    recipe = {
        "stage": kind,
        "engine": engines.TUNE,
        "start": start.digest,
        "windows": digest_of([[[row.ids, row.labels, row.weight] for row in window] for window in windows]),
        "strategy": strategy.recipe(),
        "mitigations": [mitigation.recipe() for mitigation in hooked],
        "prepared": digest_of({name: context.prepared.get(name) for name in sorted({type(m).__name__ for m in hooked})}) if hooked else None,
        "sees": context.sees() if hooked else None,
        "streams": {name: digest_of([[row.ids, row.labels, row.weight] for row in stream]) for name, stream in context.streams().items()},
        "tuning": tuning.recipe(),
        "seeds": [context.number("strategy/start"), context.number("tune/dropout")],
    }
    if probing and probing.probe.stops:
        recipe["probe"] = probing.recipe(tokenizer)
    compute = partial(_train, house, house.name_of(kind), start, windows, strategy, tuning, hooked, context, probing)
    artifact = house.make(kind, recipe, compute, type(strategy).__name__.lower())
    if probing:
        probing.keep(house, artifact.key, tokenizer, compute)
    if "curve" not in (entry := house.entry(artifact.key)):
        entry["curve"] = thinned(_scheduled(artifact.folder, strategy, tuning, hooked))
    return Layer(artifact.folder, artifact.digest, strategy)


def _scheduled(folder: Path, strategy: Strategy, tuning: Tuning, mitigations: Sequence[Mitigation]) -> list[Step]:
    """The curve of an artifact that kept its losses only; the learning rate follows from the schedule where no mitigation has a say in it."""
    losses: list[float] = json.loads((folder / "losses.json").read_text())
    planned = not any(overrides(mitigation, "rate", "stepped") for mitigation in mitigations)
    return [Step(loss, strategy.lr * tuning.rate_at(at, len(losses)) if planned else None) for at, loss in enumerate(losses)]


def _train(
    house: House,
    name: str,
    start: Weights,
    windows: list[list[Any]],
    strategy: Strategy,
    tuning: Tuning,
    mitigations: Sequence[Mitigation],
    context: Context,
    probing: Probing | None,
    folder: Path,
    unfinished: Path,
) -> dict[str, Any]:
    from safetensors.torch import save_file

    from ftsafety.peak import peak
    from ftsafety.shared_prefix import why_not
    from ftsafety.tune import tune

    most = peak()
    chat = house.loader.fresh(start)
    watch = probing.watch(chat, unfinished) if probing else None
    module = strategy.attach(chat.module, context.number("strategy/start"))
    for mitigation in mitigations:
        module = mitigation.attach(module, context)
    last = len(windows)
    if watch:
        _look(house, watch, 0, last, module)
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    # the folder of what survives an interruption is named by the stage's key
    with house.ranks.together(unfinished.name.rpartition("-")[2]), bar(f"tune ({type(strategy).__name__.lower()})", last) as advance:

        def followed(step: int, curve: Sequence[Step]) -> bool:
            advance(1, f"loss {curve[-1].loss:.3f}")
            house.notebook.follow(name, curve)
            fault_point(f"step {step}")
            return watch is not None and _look(house, watch, step, last, module)

        done = tune(
            module,
            windows,
            tuning,
            strategy.lr,
            mitigations,
            context,
            share=why_not(module, strategy, mitigations, tuning) is None,
            trainer=house.ranks.trainer,
            checkpoint=unfinished / "state.pt",
            on_step=followed,
        )
    if watch:
        _look(house, watch, done.steps, done.steps, module)
        watch.finish(done.steps)
    fault_point("halfway through tune")
    save_file(strategy.export(module), folder / "weights.safetensors")
    strategy.describe(module, folder)
    (folder / "losses.json").write_text(json.dumps(done.losses))
    # what a stage says of itself is no part of its digest, so that a curve changes no key of what is made from the weights
    return {
        "steps": done.steps, "tokens": done.tokens, "final_loss": done.losses[-1], "first_loss": done.losses[0], "trainable": trainable,
        "curve": thinned(done.curve), "peak_mib": most(), "streams": {name: len(stream) for name, stream in context.streams().items()},
    }  # fmt: skip


def _look(house: House, watch: Watch, step: int, last: int, module: Any) -> bool:
    """Probe the model where that is due; whether the tuning ends here."""
    reading = watch.look(step, last, module)
    if reading is None:
        return False
    house.notebook.tell("probe", [(step, reading.numbers)])
    return watch.probing.stopped_by(reading)


def plan_windows(rows: Sequence[Row], tuning: Tuning, tokenizer: Any, context: Context, visits: Sequence[Visit]) -> list[list[Any]]:
    """The encoded rows of each optimiser step, in order, over all epochs.

    Raises:
        DataError: no rows, or a batch larger than the data, which would be zero or unintended steps.
    """
    if not rows:
        raise DataError("there are no rows to tune on; give the attack some.")
    if tuning.epochs < 1:
        raise DataError(f"tuning.epochs={tuning.epochs} is zero optimiser steps; give at least 1, or leave the attack out to measure the model as it is.")
    if not 1 <= tuning.batch_size <= len(rows):
        raise DataError(f"tuning.batch_size={tuning.batch_size} is not possible with {len(rows)} rows; give a batch between 1 and {len(rows)}.")
    encoded = {} if visits else dict(zip(range(len(rows)), _encode_all(tokenizer, rows, tuning), strict=True))
    windows = []
    for epoch in range(tuning.epochs):
        order = list(range(len(rows)))
        if tuning.shuffle:
            context.rng(f"tune/order/{epoch}").shuffle(order)
        for start in range(0, len(order), tuning.batch_size):
            chosen = order[start : start + tuning.batch_size]
            windows.append([encoded[at] if not visits else _visited(rows[at], epoch, visits, tokenizer, tuning, context) for at in chosen])
    return windows


def _visited(row: Row, epoch: int, visits: Sequence[Visit], tokenizer: Any, tuning: Tuning, context: Context) -> Any:
    for visit in visits:
        row = visit(row, context.rng(f"visit/{epoch}/{row.id}"))
    return _encode_all(tokenizer, [row], tuning)[0]


def _encode_all(tokenizer: Any, rows: Sequence[Row], tuning: Tuning) -> list[Any]:
    from ftsafety.chat import encode

    return [encode(tokenizer, row, tuning.max_length, tuning.allow_cut) for row in rows]
