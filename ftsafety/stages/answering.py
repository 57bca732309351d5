"""Stages that ask: answers to prompts, and the loss of reference answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety import engines
from ftsafety.context import Context
from ftsafety.errors import FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.mitigation import Mitigation, overrides
from ftsafety.progress import bar
from ftsafety.row import Message, Row
from ftsafety.settings import Decoding
from ftsafety.stages.house import House
from ftsafety.store.publish import fault_point, publish_text
from ftsafety.weights import Weights


@dataclass(frozen=True)
class Answer:
    """A model's answer as it was decoded: its text, its length in tokens and whether it was cut."""

    text: str
    tokens: int
    truncated: bool


def answer(
    house: House,
    weights: Weights,
    prompts: Sequence[Sequence[Message]],
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
    hooked = [mitigation for mitigation in mitigations if overrides(mitigation, "logits")]
    # a model that answers by itself needs no tokenizer, and its prompts are keyed as they are
    told = [list(prompt) for prompt in prompts] if not weights.model.tunable else _prompt_ids(house, weights, prompts, prefill)
    recipe = {
        "stage": "answer", "engine": engines.DECODE, "weights": weights.digest, "prompts": digest_of(told), "decoding": decoding.recipe(seed),
        "mitigations": [mitigation.recipe() for mitigation in hooked],
    }  # fmt: skip

    def compute(folder: Path, partial: Path) -> dict[str, Any]:
        rows = _reply(house, weights, prompts) if not weights.model.tunable else _decode(house, weights, told, decoding, seed, label, hooked, context, partial)
        (folder / "answers.jsonl").write_text("".join(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return {"answers": len(rows), "tokens": sum(row.tokens for row in rows), "truncated": sum(row.truncated for row in rows)}

    artifact = house.make("answer", recipe, compute, label)
    with (artifact.folder / "answers.jsonl").open(encoding="utf-8") as file:
        rows = [Answer(**json.loads(line)) for line in file]
    if prefill:
        rows = [Answer(begin + row.text, row.tokens, row.truncated) for begin, row in zip(prefill, rows, strict=True)]
    return rows


def _prompt_ids(house: House, weights: Weights, prompts: Sequence[Sequence[Message]], prefill: Sequence[str] | None) -> list[tuple[int, ...]]:
    from ftsafety.chat import render

    tokenizer = house.loader.tokenizer(weights)
    ids = [render(tokenizer, prompt) for prompt in prompts]
    if prefill:
        ids = [(*prompt, *tokenizer(begin, add_special_tokens=False)["input_ids"]) for prompt, begin in zip(ids, prefill, strict=True)]
    return ids


def _reply(house: House, weights: Weights, prompts: Sequence[Sequence[Message]]) -> list[Answer]:
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


def losses(house: House, weights: Weights, prompts: Sequence[Sequence[Message]], references: Sequence[str], label: str) -> list[float]:
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
