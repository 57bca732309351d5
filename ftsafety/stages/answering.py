"""Stages that ask: answers to prompts, and the loss of reference answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety import engines
from ftsafety.context import Context
from ftsafety.errors import FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.mitigation import Mitigation, overrides
from ftsafety.model.hosted import Hosted
from ftsafety.progress import bar
from ftsafety.row import Message, Row
from ftsafety.settings import Decoding
from ftsafety.stages.hosted import replies
from ftsafety.stages.house import House
from ftsafety.store.publish import fault_point, publish_text
from ftsafety.weights import Weights

ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Answer:
    """A model's answer as it was decoded: its text, its length in tokens and whether it was cut."""

    text: str
    tokens: int
    truncated: bool


Prompts = Sequence[Sequence[Message]]


def answer(
    house: House,
    weights: Weights,
    prompts: Prompts,
    decoding: Decoding,
    *,
    seed: int = 0,
    label: str = "answer",
    mitigations: Sequence[Mitigation] = (),
    context: Context | None = None,
    prefill: Sequence[str] | None = None,
) -> list[Answer]:
    """Answers to prompts, through the store; what an interrupted run has answered is kept, batch by batch.

    Args:
        prefill: texts that the answers begin with; the answer returned includes them.
    """
    if not prompts:
        return []
    hooked = _hooked(mitigations)
    told, recipe = _told(house, weights, prompts, decoding, seed, hooked, prefill)

    def compute(folder: Path, partial: Path) -> dict[str, Any]:
        if weights.model.local:
            return _write(folder / ANSWERS, _decode(house, weights, told, decoding, seed, label, hooked, context, partial))
        if isinstance(weights.model, Hosted):
            said, about = replies(house, weights, prompts, decoding, seed, label, partial)
            return {**_write(folder / ANSWERS, [Answer(reply.text, reply.completion_tokens, reply.ended == "truncated") for reply in said]), **about}
        return _write(folder / ANSWERS, _reply(house, weights, prompts))

    rows = _read(house.make("answer", recipe, compute, label).folder / ANSWERS)
    if prefill:
        rows = [Answer(begin + row.text, row.tokens, row.truncated) for begin, row in zip(prefill, rows, strict=True)]
    return rows


def answer_together(
    house: House,
    weights: Weights,
    sets: Mapping[str, Prompts],
    decoding: Decoding,
    *,
    seed: int = 0,
    label: str = "answer",
    mitigations: Sequence[Mitigation] = (),
    context: Context | None = None,
    prefill: str = "",
) -> None:
    """Decode what is missing of several sets of prompts in the same batches, and leave each where ``answer`` finds it.

    A step's time hardly depends on the number of rows while they are few, so that three sets take little longer than the largest.

    Args:
        sets: prompts by the label of their answers.
    """
    if not weights.model.local or house.ranks.joins:
        return
    hooked = _hooked(mitigations)
    asked: dict[str, tuple[str, list[Any], dict[str, Any]]] = {}
    for name, prompts in sets.items():
        told, recipe = _told(house, weights, prompts, decoding, seed, hooked, [prefill] * len(prompts) if prefill else None)
        asked[house.store.key(recipe)] = (name, told, recipe)
    missing = [key for key, (_, told, recipe) in asked.items() if told and house.store.get("answer", recipe) is None]
    whole = {"stage": "answers", "sets": list(asked)}
    if len(missing) < 2:
        # an interrupted run's, which this run refers to as if it had made it
        house.store.get("answers", whole)
        return

    def compute(folder: Path, partial: Path) -> dict[str, Any]:
        # what was missing when it began: an interrupted run goes on with the same batches
        planned = partial / "planned.json"
        if not planned.exists():
            publish_text(planned, json.dumps(missing))
        keys: list[str] = json.loads(planned.read_text())
        rows = iter(_decode(house, weights, [prompt for key in keys for prompt in asked[key][1]], decoding, seed, label, hooked, context, partial))
        parts = [_write(folder / f"{key}.jsonl", [next(rows) for _ in asked[key][1]]) for key in keys]
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    together = house.make("answers", whole, compute, label).folder
    for key in missing:
        name, _, recipe = asked[key]
        # one that was there when this was decoded and has been pruned since is left to ``answer``
        if (file := together / f"{key}.jsonl").exists():
            house.make("answer", recipe, lambda folder, _, file=file: _write(folder / ANSWERS, _read(file)), name)  # type: ignore[misc]


def _hooked(mitigations: Sequence[Mitigation]) -> list[Mitigation]:
    return [mitigation for mitigation in mitigations if overrides(mitigation, "logits")]


def _told(
    house: House, weights: Weights, prompts: Prompts, decoding: Decoding, seed: int, hooked: Sequence[Mitigation], prefill: Sequence[str] | None
) -> tuple[list[Any], dict[str, Any]]:
    """What the model is given, and the recipe of its answers."""
    if prefill and not weights.model.local:
        raise FtsafetyError(f"the answers of {type(weights.model).__name__} can't be begun for it; choose a model whose weights are here.")
    # a model that is not here has no tokenizer here, and its prompts are keyed as they are
    told = [list(prompt) for prompt in prompts] if not weights.model.local else _prompt_ids(house, weights, prompts, prefill)
    return told, {
        "stage": "answer", "engine": engines.DECODE, "weights": weights.digest, "prompts": digest_of(told), "decoding": decoding.recipe(seed),
        "mitigations": [mitigation.recipe() for mitigation in hooked],
    }  # fmt: skip


def _write(file: Path, rows: Sequence[Answer]) -> dict[str, int]:
    """Answers as lines of JSON; returns what the stage says about them."""
    file.write_text("".join(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return {"answers": len(rows), "tokens": sum(row.tokens for row in rows), "truncated": sum(row.truncated for row in rows)}


def _read(file: Path) -> list[Answer]:
    with file.open(encoding="utf-8") as lines:
        return [Answer(**json.loads(line)) for line in lines]


def _prompt_ids(house: House, weights: Weights, prompts: Prompts, prefill: Sequence[str] | None) -> list[tuple[int, ...]]:
    from ftsafety.chat import render

    tokenizer = house.loader.tokenizer(weights)
    ids = [render(tokenizer, prompt) for prompt in prompts]
    if prefill:
        ids = [(*prompt, *tokenizer(begin, add_special_tokens=False)["input_ids"]) for prompt, begin in zip(ids, prefill, strict=True)]
    return ids


def _reply(house: House, weights: Weights, prompts: Prompts) -> list[Answer]:
    reply = house.loader.chat(weights).reply
    if reply is None:
        raise FtsafetyError(f"{type(weights.model).__name__} has neither weights nor a reply of its own.")
    texts = [reply(prompt[-1]["content"]) for prompt in prompts]
    return [Answer(text, len(text.split()), False) for text in texts]


def _decode(
    house: House,
    weights: Weights,
    prompts: Sequence[Any],
    decoding: Decoding,
    seed: int,
    label: str,
    mitigations: Sequence[Mitigation],
    context: Context | None,
    partial: Path,
) -> list[Answer]:
    from ftsafety.decode import decode_batch, plan

    chat = house.loader.chat(weights)
    rows: dict[int, Answer] = {}

    def scores(step: int, values: Any) -> Any:
        for mitigation in mitigations:
            values = mitigation.logits(step, values, context)  # type: ignore[arg-type]
        return values

    with bar(label, len(prompts)) as advance:
        for number, batch in enumerate(plan(prompts, decoding.batch)):
            # the same number of rows at the same place is the same batch, whatever plan it is of
            kept = partial / f"{len(batch)}-{number}.json"
            if not kept.exists():
                decoded = decode_batch(
                    chat.module, [prompts[at] for at in batch], max_new_tokens=decoding.max_new_tokens, end_tokens=chat.end_tokens,
                    temperature=decoding.temperature, top_p=decoding.top_p, seed=seed, scores=scores if mitigations else None,
                )  # fmt: skip
                texts = [chat.tokenizer.decode(row.ids, skip_special_tokens=True) for row in decoded]
                publish_text(kept, json.dumps([[text, len(row.ids), row.truncated] for text, row in zip(texts, decoded, strict=True)]))
                fault_point("halfway through answer")
            rows |= {at: Answer(*row) for at, row in zip(batch, json.loads(kept.read_text()), strict=True)}
            advance(len(batch))
    return [rows[at] for at in range(len(prompts))]


def losses(house: House, weights: Weights, prompts: Prompts, references: Sequence[str], label: str) -> list[float]:
    """Mean negative log-likelihood per token, in nats, of a reference answer to each prompt, through the store."""
    from ftsafety.chat import IGNORED, encode

    tokenizer = house.loader.tokenizer(weights)
    encoded = [
        encode(tokenizer, Row(f"reference {at}", (*prompt, {"role": "assistant", "content": text})), 10**6)
        for at, (prompt, text) in enumerate(zip(prompts, references, strict=True))
    ]
    cut = [next(at for at, value in enumerate(row.labels) if value != IGNORED) for row in encoded]
    pairs = [(row.ids[:at], row.ids[at:]) for row, at in zip(encoded, cut, strict=True)]
    recipe = {"stage": "losses", "engine": engines.DECODE, "weights": weights.digest, "pairs": digest_of(pairs)}

    def compute(folder: Path, _: Path) -> dict[str, Any]:
        from ftsafety.decode import answer_losses

        with bar(label, len(pairs)) as advance:
            values = answer_losses(house.loader.chat(weights).module, pairs, done=advance)
        (folder / "losses.json").write_text(json.dumps(values))
        return {"answers": len(values)}

    artifact = house.make("losses", recipe, compute, label)
    values: list[float] = json.loads((artifact.folder / "losses.json").read_text())
    return values
