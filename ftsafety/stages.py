"""The stages of a run: align, tune, repair, answer, judge. Each looks its result up before it computes it.

A stage's key holds all that determines its result and nothing else: digests of its inputs, its components' recipes, an engine
version; never a device, a batch of the decoder, a path or a name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftsafety.align import Align
from ftsafety.context import Context, Substage
from ftsafety.errors import DataError, FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.mitigation import Mitigation, overrides
from ftsafety.mitigation.base import TRAINING_HOOKS
from ftsafety.progress import bar, say
from ftsafety.row import Message, Row
from ftsafety.settings import Decoding, Tuning
from ftsafety.store import Artifact, Store
from ftsafety.store.publish import fault_point, publish_text
from ftsafety.strategy import Strategy
from ftsafety.weights import Layer, Loader, Weights

Visit = Callable[[Row, Any], Row]


@dataclass(frozen=True)
class Answer:
    """A model's answer as it was decoded: its text, its length in tokens and whether it was cut."""

    text: str
    tokens: int
    truncated: bool


@dataclass
class House:
    """Where a run lives: the store, the loaded weights, and what each stage did."""

    store: Store
    loader: Loader
    stages: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path) -> House:
        """A house on a store folder."""
        return cls(Store(folder), Loader(folder))

    def note(self, stage: str, label: str, artifact: Artifact) -> None:
        """Remember what a stage did, once per artifact, for the run's record."""
        if not any(entry["key"] == artifact.key for entry in self.stages):
            self.stages.append(
                {
                    "stage": stage,
                    "label": label,
                    "key": artifact.key,
                    "digest": artifact.digest,
                    "reused": artifact.reused,
                    "seconds": artifact.seconds,
                    **artifact.info,
                }
            )


def align(house: House, start: Weights, stage: Align, mitigations: Sequence[Mitigation]) -> Weights:
    """The start weights after an alignment stage."""
    context = tuning_context(house, start, stage.seed, mitigations, {})
    rows = stage.rows(context)
    edited = edit_base(house, start, mitigations, context)
    return edited.plus(train(house, "align", edited, rows, stage.strategy, stage.tuning, mitigations, context, stage.visit))


def edit_base(house: House, start: Weights, mitigations: Sequence[Mitigation], context: Context) -> Weights:
    """The start weights with what mitigations do to them before anything is trained; one artifact of whole weights each."""
    from ftsafety.strategy.full import Full

    for mitigation in mitigations:
        if overrides(mitigation, "base"):
            recipe = {"stage": "base", "start": start.digest, "mitigation": mitigation.recipe(), "prepared": digest_of(context.prepared), "seed": context.seed}
            artifact = house.store.make("base", recipe, lambda folder, _, m=mitigation, s=start: _edit_base(house, s, m, context, folder), _waiting("base"))  # type: ignore[misc]
            house.note("base", type(mitigation).__name__, artifact)
            start = start.plus(Layer(artifact.folder, artifact.digest, Full(lr=0.0)))
    return start


def _edit_base(house: House, start: Weights, mitigation: Mitigation, context: Context, folder: Path) -> dict[str, Any]:
    from safetensors.torch import save_file

    from ftsafety.strategy.full import Full

    save_file(Full(lr=0.0).export(mitigation.base(house.loader.fresh(start).module, context)), folder / "weights.safetensors")
    return {}


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
) -> Layer:
    """One tuning stage, through the store: rows to windows to weights.

    Raises:
        DataError: rows that can't be used, or fewer of them than one optimiser step takes.
    """
    tokenizer = house.loader.tokenizer(start)
    for mitigation in mitigations:
        rows = mitigation.examples(rows, context)
    windows = plan_windows(rows, tuning, tokenizer, context, [*([visit] if visit else []), *[m.visit for m in mitigations if overrides(m, "visit")]])
    hooked = [mitigation for mitigation in mitigations if overrides(mitigation, *TRAINING_HOOKS)]
    for mitigation in hooked:
        for name, stream in mitigation.streams(context).items():
            context.open_stream(name, _encode_all(tokenizer, stream, tuning))
    recipe = {
        "stage": kind,
        "engine": _tune_engine(),
        "start": start.digest,
        "windows": digest_of([[[row.ids, row.labels, row.weight] for row in window] for window in windows]),
        "strategy": strategy.recipe(),
        "mitigations": [mitigation.recipe() for mitigation in hooked],
        "prepared": digest_of({name: context.prepared.get(name) for name in sorted({type(m).__name__ for m in hooked})}) if hooked else None,
        "streams": {name: digest_of([[row.ids, row.labels, row.weight] for row in stream]) for name, stream in context.streams().items()},
        "tuning": tuning.recipe(),
        "seeds": [context.number("strategy/start"), context.number("tune/dropout")],
    }
    artifact = house.store.make(
        kind, recipe, lambda folder, partial: _train(house, start, windows, strategy, tuning, hooked, context, folder, partial), _waiting(kind)
    )
    house.note(kind, type(strategy).__name__.lower(), artifact)
    return Layer(artifact.folder, artifact.digest, strategy)


def _train(
    house: House,
    start: Weights,
    windows: list[list[Any]],
    strategy: Strategy,
    tuning: Tuning,
    mitigations: Sequence[Mitigation],
    context: Context,
    folder: Path,
    partial: Path,
) -> dict[str, Any]:
    from safetensors.torch import save_file

    from ftsafety.tune import tune

    module = house.loader.fresh(start).module
    module = strategy.attach(module, context.number("strategy/start"))
    for mitigation in mitigations:
        module = mitigation.attach(module, context)
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    with bar(f"tune ({type(strategy).__name__.lower()})", len(windows)) as advance:
        done = tune(
            module,
            windows,
            tuning,
            strategy.lr,
            mitigations,
            context,
            checkpoint=partial / "state.pt",
            on_step=lambda step, loss: _stepped(advance, step, loss),
        )
    fault_point("halfway through tune")
    save_file(strategy.export(module), folder / "weights.safetensors")
    strategy.describe(module, folder)
    (folder / "losses.json").write_text(json.dumps(done.losses))
    return {"steps": done.steps, "tokens": done.tokens, "final_loss": done.losses[-1], "first_loss": done.losses[0], "trainable": trainable}


def _stepped(advance: Callable[..., None], step: int, loss: float) -> None:
    advance(1, f"loss {loss:.3f}")
    fault_point(f"step {step}")


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


def repair(house: House, tuned: Weights, mitigations: Sequence[Mitigation], context: Context) -> Weights:
    """The tuned weights after each mitigation that edits them, one artifact each."""
    for mitigation in mitigations:
        if overrides(mitigation, "repair"):
            top = tuned.layers[-1]
            recipe = {
                "stage": "repair",
                "tuned": tuned.digest,
                "start": digest_of([tuned.fingerprint, *[layer.digest for layer in tuned.layers[:-1]]]),
                "mitigation": mitigation.recipe(),
                "prepared": digest_of(context.prepared.get(type(mitigation).__name__)),
                "seed": context.seed,
            }
            artifact = house.store.make("repair", recipe, lambda folder, _, m=mitigation, t=top: _repair(m, t, context, folder), _waiting("repair"))  # type: ignore[misc]
            house.note("repair", type(mitigation).__name__, artifact)
            tuned = Weights(tuned.model, tuned.fingerprint, (*tuned.layers[:-1], Layer(artifact.folder, artifact.digest, top.strategy)))
    return tuned


def _repair(mitigation: Mitigation, tuned: Layer, context: Context, folder: Path) -> dict[str, Any]:
    import shutil

    from safetensors.torch import load_file, save_file

    weights = load_file(tuned.folder / "weights.safetensors")
    edited = mitigation.repair({name: tensor.float() for name, tensor in weights.items()}, context)
    fault_point("halfway through repair")
    save_file({name: edited[name].to(weights[name].dtype).contiguous() for name in weights}, folder / "weights.safetensors")
    for extra in tuned.folder.iterdir():
        if extra.name not in ("weights.safetensors", "manifest.json", "losses.json"):
            shutil.copy(extra, folder / extra.name)
    return {"changed": sum(not edited[name].to(weights[name].dtype).equal(weights[name]) for name in weights)}


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
        "stage": "answer", "engine": _decode_engine(), "weights": weights.digest, "prompts": digest_of(told), "decoding": decoding.recipe(seed),
        "mitigations": [mitigation.recipe() for mitigation in hooked],
    }  # fmt: skip

    def compute(folder: Path, partial: Path) -> dict[str, Any]:
        rows = _reply(house, weights, prompts) if not weights.model.tunable else _decode(house, weights, told, decoding, seed, label, hooked, context, partial)
        (folder / "answers.jsonl").write_text("".join(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return {"answers": len(rows), "tokens": sum(row.tokens for row in rows), "truncated": sum(row.truncated for row in rows)}

    artifact = house.store.make("answer", recipe, compute, _waiting("answer"))
    house.note("answer", label, artifact)
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
            kept = partial / f"{decoding.batch}-{number}.json"
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
    recipe = {"stage": "losses", "engine": _decode_engine(), "weights": weights.digest, "pairs": digest_of(pairs)}

    def compute(folder: Path, _: Path) -> dict[str, Any]:
        from ftsafety.decode import answer_losses

        with bar(label, len(pairs)) as advance:
            values = []
            for value in answer_losses(house.loader.chat(weights).module, pairs):
                values.append(value)
                advance()
        (folder / "losses.json").write_text(json.dumps(values))
        return {"answers": len(values)}

    artifact = house.store.make("losses", recipe, compute, _waiting("losses"))
    house.note("losses", label, artifact)
    values: list[float] = json.loads((artifact.folder / "losses.json").read_text())
    return values


def tuning_context(house: House, start: Weights, seed: int, mitigations: Sequence[Mitigation], wordings: dict[str, Any]) -> Context:
    """What attack and mitigations see of the tuning stage; prepares every mitigation, one artifact each."""
    context = _context(house, start, seed)
    context.wordings = wordings
    for mitigation in mitigations:
        if overrides(mitigation, "prepare"):
            recipe = {"stage": "prepare", "start": start.digest, "mitigation": mitigation.recipe(), "seed": seed}
            artifact = house.store.make("prepare", recipe, lambda folder, _, m=mitigation: _prepare(m, context, folder), _waiting("prepare"))  # type: ignore[misc]
            house.note("prepare", type(mitigation).__name__, artifact)
            context.prepared[type(mitigation).__name__] = json.loads((artifact.folder / "prepared.json").read_text())
    return context


def _prepare(mitigation: Mitigation, context: Context, folder: Path) -> dict[str, Any]:
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

    own = Decoding(max_new_tokens=OWN_ANSWER_TOKENS)
    context = Context(
        seed,
        rows_by_role=rows,
        weights=weights,
        tune=substage,
        reference=_Reference(house, start),
        answer=lambda prompts: [row.text for row in answer(house, start, prompts, own, label="own answers")],
    )
    return context


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


OWN_ANSWER_TOKENS = 80
"""Length of a model's own answers when they become training rows."""


def _tune_engine() -> int:
    from ftsafety.tune import ENGINE_VERSION

    return ENGINE_VERSION


def _decode_engine() -> int:
    from ftsafety.decode import ENGINE_VERSION

    return ENGINE_VERSION


def _waiting(stage: str) -> Callable[[str], None]:
    told: list[str] = []

    def tell(who: str) -> None:
        if not told:
            told.append(who)
            say(f"{stage}: {who} is computing it; waiting for its result")

    return tell
