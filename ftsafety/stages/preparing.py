"""What attack and mitigations see of a tuning stage, and what mitigations prepare for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety import engines
from ftsafety.context import Context, Inspection, Substage
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.mitigation import Mitigation, overrides
from ftsafety.model import Model
from ftsafety.row import Row
from ftsafety.settings import Decoding
from ftsafety.stages.answering import answer
from ftsafety.stages.hidden import hidden
from ftsafety.stages.house import House
from ftsafety.stages.judging import judged
from ftsafety.stages.tuning import train
from ftsafety.weights import Weights

if TYPE_CHECKING:
    from ftsafety.chat import Encoded


def tuning_context(house: House, start: Weights, seed: int, mitigations: Sequence[Mitigation], wordings: dict[str, Any]) -> Context:
    """What attack and mitigations see of the tuning stage; prepares every mitigation, one artifact each."""
    context = _context(house, start, seed)
    context.wordings = wordings
    for mitigation in mitigations:
        if overrides(mitigation, "prepare"):
            recipe = {"stage": "prepare", "start": start.digest, "mitigation": mitigation.recipe(), "seed": seed, "sees": context.sees()}
            artifact = house.make("prepare", recipe, partial(_prepare, mitigation, context), type(mitigation).__name__)
            context.prepared[type(mitigation).__name__] = json.loads((artifact.folder / "prepared.json").read_text())
    return context


def _prepare(mitigation: Mitigation, context: Context, folder: Path, _: Path) -> dict[str, Any]:
    (folder / "prepared.json").write_text(json.dumps(mitigation.prepare(context)))
    return {}


def _context(house: House, start: Weights, seed: int) -> Context:
    from ftsafety import stand_in
    from ftsafety.row import PLAIN

    def rows(role: str) -> Sequence[Row]:
        if role != "safety":
            raise FtsafetyError(f"there are no rows of role {role}; the shipped role is safety.")
        return [PLAIN.row(row["id"], row["question"], row["answer"], "safety") for row in stand_in.load("refused")]

    def weights(name: str) -> dict[str, Any]:
        raw = start.model.raw()
        if name == "pre" and raw is None and not start.layers:
            raise FtsafetyError("this model's never-aligned weights (pre) are not known; choose a model that names them, or a mitigation that does without.")
        chosen = start if name == "al" else house.loader.weights(raw or start.model)
        return {key: tensor.float() for key, tensor in house.loader.fresh(chosen).module.state_dict().items()}

    def substage(spec: Substage) -> dict[str, Any]:
        inner = _context(house, start, context.number(f"substage/{spec.name}"))
        layer = train(house, "substage", start, spec.rows, spec.strategy, spec.tuning, [], inner)
        return {key: tensor.float() for key, tensor in house.loader.fresh(start.plus(layer)).module.state_dict().items()}

    own = Decoding(max_new_tokens=engines.OWN_ANSWER_TOKENS)
    context = Context(
        seed,
        rows_by_role=rows,
        weights=weights,
        tune=substage,
        reference=_Reference(house, start),
        encoded=lambda rows: encoded_whole(start.model, lambda: house.loader.tokenizer(start), rows),
        inspect=partial(_inspect, house, start),
        answer=lambda prompts: [row.text for row in answer(house, start, prompts, own, label="own answers")],
        hidden=lambda prompts, depth: hidden(house, start, prompts, depth, "hidden states"),
        verdicts=lambda judge, pairs: judged(house, judge, pairs, "judging rows"),
    )
    return context


def encoded_whole(model: Model, tokenizer: Callable[[], Any], rows: Sequence[Row]) -> list[Encoded]:
    """Rows as a model reads them, however long they are.

    Raises:
        ConfigError: a model whose tokenizer and weights are not here.
    """
    from ftsafety.chat import encode

    if not model.local:
        raise ConfigError("this attack chooses its rows by the model's own weights, and they are not here; choose another attack, or a model such as model=hf.")
    reading = tokenizer()
    return [encode(reading, row, sys.maxsize) for row in rows]


def _inspect(house: House, start: Weights, spec: Inspection) -> Any:
    read = digest_of([[row.ids, row.labels] for row in spec.rows])
    recipe = {"stage": "inspect", "engine": engines.TUNE, "start": start.digest, "rows": read, "of": spec.recipe}

    def compute(folder: Path, _: Path) -> dict[str, Any]:
        (folder / "found.json").write_text(json.dumps(spec.compute(house.loader.fresh(start).module, spec.rows)))
        return {"rows": len(spec.rows), "tokens": sum(len(row.ids) for row in spec.rows)}

    return json.loads((house.make("inspect", recipe, compute, spec.name).folder / "found.json").read_text())


class _Reference:
    """The frozen start model's log-probability of each labelled token of a micro-batch; loaded at the first call."""

    def __init__(self, house: House, start: Weights) -> None:
        self.house, self.start, self.module = house, start, None

    def __call__(self, micro: dict[str, Any]) -> Any:
        import torch

        from ftsafety.tune import labelled_logits

        self.module = self.module or self.house.loader.fresh(self.start).module
        with torch.no_grad():
            logits, targets, _ = labelled_logits(self.module, micro)
            return logits.log_softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
