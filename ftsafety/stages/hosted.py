"""Stages of a model that is hosted elsewhere: it is tuned and asked there, and what comes back is kept here, as with any other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ftsafety.api import Reply
from ftsafety.curve import Step, thinned
from ftsafety.errors import DataError, FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.model.hosted import Hosted, Order
from ftsafety.progress import bar
from ftsafety.row import Message, Row
from ftsafety.settings import Decoding, Tuning
from ftsafety.stages.house import House, waiting
from ftsafety.store.lease import lease
from ftsafety.store.publish import fault_point, publish_json
from ftsafety.store.spending import Spending
from ftsafety.strategy import Strategy
from ftsafety.strategy.api import Api
from ftsafety.weights import Layer, Weights

HOSTED = "hosted.json"
"""In a tuned part's folder, what the service calls the tuned model."""


def train_hosted(house: House, kind: str, start: Weights, rows: Sequence[Row], strategy: Strategy, tuning: Tuning, seed: int) -> Layer:
    """One tuning at a service, through the store: the rows go there, and the tuned model's name comes back.

    Raises:
        DataError: rows that the API can't be given.
        ServiceError: the service refuses, or the budget does not suffice.
    """
    model = _hosted(start)
    if not isinstance(strategy, Api):
        raise FtsafetyError(f"{type(strategy).__name__} trains weights that are here, and {type(model).__name__} is hosted elsewhere; type strategy=api.")
    if weighted := [row.id for row in rows if row.weight != 1.0]:
        raise DataError(f"row {weighted[0]} has a weight, which a fine-tuning API can't be given; leave the mitigation out that gives it.")
    if not 1 <= tuning.batch_size <= len(rows):
        raise DataError(f"tuning.batch_size={tuning.batch_size} is not possible with {len(rows)} rows; give a batch between 1 and {len(rows)}.")
    recipe = {
        "stage": kind, "start": start.digest, "rows": digest_of([row.messages for row in rows]), "epochs": tuning.epochs, "batch_size": tuning.batch_size,
        "learning_rate_multiplier": strategy.learning_rate_multiplier, "seed": seed,
    }  # fmt: skip

    def compute(folder: Path, notes: Path) -> dict[str, Any]:
        order = Order(house.store.key(recipe), name_of(start), rows, tuning.epochs, tuning.batch_size, strategy.learning_rate_multiplier, seed)
        with _paying(house, model) as spending, bar(f"{kind} (at the service)", order.steps) as advance:
            done = model.tune(order, notes, spending, advance)
        fault_point(f"halfway through {kind}")
        publish_json(folder / HOSTED, {"model": done.model})
        curve = {"curve": thinned([Step(loss) for loss in done.losses]), "final_loss": done.losses[-1], "first_loss": done.losses[0]} if done.losses else {}
        return {"steps": order.steps, **curve, **done.told, **model.allowed}

    artifact = house.make(kind, recipe, compute, "api")
    return Layer(artifact.folder, artifact.digest, strategy)


def replies(
    house: House, weights: Weights, prompts: Sequence[Sequence[Message]], decoding: Decoding, seed: int, label: str, notes: Path
) -> tuple[list[Reply], dict[str, Any]]:
    """The service's replies, and what the stage says about them; each is kept before the next one is taken, since it is paid for."""
    model, kept = _hosted(weights), notes / "replies.jsonl"
    found = _read(kept)
    missing = [at for at in range(len(prompts)) if at not in found]
    with _paying(house, model) as spending, bar(label, len(prompts)) as advance, kept.open("a", encoding="utf-8") as file:
        advance(len(found))
        for place, reply in model.replies(name_of(weights), [prompts[at] for at in missing], decoding, seed, spending.usd):
            spending.add(reply.usd, "answer")
            file.write(json.dumps({"at": missing[place], **asdict(reply)}) + "\n")
            file.flush()
            fault_point("halfway through answer")
            found[missing[place]] = reply
            advance(1)
    said = [found[at] for at in range(len(prompts))]
    ended = {kind: count for kind in ("filtered", "declined", "too_long", "empty") if (count := sum(reply.ended == kind for reply in said))}
    usd = [reply.usd for reply in said if reply.usd is not None]
    return said, {**ended, **({"usd": round(sum(usd), 6)} if usd else {}), **model.allowed}


def _read(kept: Path) -> dict[int, Reply]:
    """What an interrupted run was answered; a line that it tore while dying is cut off."""
    if not kept.exists():
        return {}
    whole = kept.read_bytes().rpartition(b"\n")[0]
    kept.write_bytes(whole + b"\n" if whole else b"")
    lines = [json.loads(line) for line in whole.split(b"\n") if line]
    return {line.pop("at"): Reply(**line) for line in lines}


def name_of(weights: Weights) -> str:
    """What the service calls the model with its last tuned part."""
    if not weights.layers:
        return _hosted(weights).name
    return str(json.loads((weights.layers[-1].folder / HOSTED).read_text(encoding="utf-8"))["model"])


@contextmanager
def _paying(house: House, model: Hosted) -> Iterator[Spending]:
    """What was spent before; where there is a budget, one process at a time spends it."""
    name = model.fingerprint(house.store.folder)[:40]
    alone = lease(house.store.folder / "leases" / f"spending-{name}", lambda: False, waiting("the service's budget"))
    with alone if model.has_budget else nullcontext():
        yield Spending(house.store.folder, name)


def _hosted(weights: Weights) -> Hosted:
    if isinstance(weights.model, Hosted):
        return weights.model
    raise FtsafetyError(f"{type(weights.model).__name__} is not hosted elsewhere.")
