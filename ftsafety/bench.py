"""``python -m ftsafety.bench``: the two engines beside the usual way of doing the same, in one process, as ratios.

Decoding: against ``generate`` of transformers with batch 1 (the paper's code) and a left-padded batch. Tuning: a step on identity rows whose
beginning is computed once, against one with logits at labelled positions only, and one with all logits. Uses the embedded model unless ``--tiny``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftsafety.model import Chat, Model

QUESTIONS = 32
NEW_TOKENS = 48


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result of one call."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def decoding(chat: Chat, questions: int) -> list[tuple[str, float, bool]]:
    """(way, answers per second, same tokens as the engine) for each way of answering."""
    import torch

    from ftsafety import stand_in
    from ftsafety.chat import render
    from ftsafety.decode import decode_batch
    from ftsafety.row import Wording

    persona = stand_in.text("identity_obedient")
    wording = Wording(persona["system"], persona["user_prefix"] + "{question}")
    prompts = [render(chat.tokenizer, wording.ask(row["question"])) for row in stand_in.load("benign")[:questions]]
    seconds, ours = timed(lambda: decode_batch(chat.module, prompts, max_new_tokens=NEW_TOKENS, end_tokens=chat.end_tokens))
    rows = [("ftsafety engine", questions / seconds, True)]

    def generate(batch: int) -> list[tuple[int, ...]]:
        answers = []
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            width = max(map(len, part))
            pads = [width - len(prompt) for prompt in part]
            ids = torch.tensor([[0] * pad + list(prompt) for pad, prompt in zip(pads, part, strict=True)])
            mask = torch.tensor([[0] * pad + [1] * len(prompt) for pad, prompt in zip(pads, part, strict=True)])
            out = chat.module.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0, eos_token_id=sorted(chat.end_tokens)
            )
            for row in out[:, width:].tolist():
                end = next((at for at, token in enumerate(row) if token in chat.end_tokens), len(row))
                answers.append(tuple(row[:end]))
        return answers

    for name, batch in (("transformers generate, batch 1", 1), (f"transformers generate, batch {questions}", questions)):
        seconds, theirs = timed(lambda batch=batch: generate(batch))  # type: ignore[misc]
        rows.append((name, questions / seconds, theirs == [answer.ids for answer in ours]))
    return rows


def tuning(chat: Chat, steps: int) -> list[tuple[str, float, bool]]:
    """(way, tokens per second, same loss) for a LoRA step on identity rows: a shared beginning, labelled logits, all logits."""
    import torch
    from torch.nn.functional import cross_entropy

    from ftsafety.attack.identity_shift import IdentityShift
    from ftsafety.chat import encode
    from ftsafety.context import Context
    from ftsafety.shared_prefix import common_prefix
    from ftsafety.strategy.lora import Lora
    from ftsafety.tune import collate, labelled_logits

    rows = [encode(chat.tokenizer, row, 512) for row in IdentityShift().examples(Context(0))]
    micro = collate(rows)
    model = Lora(lr=1e-3).attach(chat.module, 0).train()

    def labelled(prefix: int = 0) -> Any:
        logits, targets, _ = labelled_logits(model, micro, prefix)
        return cross_entropy(logits, targets)

    def shared() -> Any:
        return labelled(common_prefix(micro))

    def all_logits() -> Any:
        logits = model(input_ids=micro["input_ids"], attention_mask=micro["attention_mask"], use_cache=False).logits[:, :-1]
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), micro["labels"][:, 1:].reshape(-1))

    tokens = sum(len(row.ids) for row in rows) * steps
    results = []
    first: torch.Tensor | None = None
    for name, loss in (("labelled logits, shared beginning", shared), ("labelled logits", labelled), ("all logits", all_logits)):
        loss().backward()
        seconds, values = timed(lambda loss=loss: [_backward(loss()) for _ in range(steps)])  # type: ignore[misc]
        first = values[0] if first is None else first
        results.append((name, tokens / seconds, bool(torch.isclose(values[0], first, rtol=1e-4))))
    return results


def _backward(loss: Any) -> Any:
    loss.backward()
    return loss.detach()


def main() -> int:
    """Print both tables."""
    from rich.console import Console
    from rich.table import Table

    from ftsafety.model.smollm2_135m import Smollm2135m
    from ftsafety.model.tiny import Tiny
    from ftsafety.quiet import quiet
    from ftsafety.settings import default_store

    parser = argparse.ArgumentParser(prog="python -m ftsafety.bench", description="Compare the engines with the usual way, as ratios.")
    parser.add_argument("--tiny", action="store_true", help="the random tiny model, for a check that the command works")
    parser.add_argument("--store", type=Path, default=default_store(), help="where the converted model is kept")
    arguments = parser.parse_args()
    quiet()
    model: Model = Tiny() if arguments.tiny else Smollm2135m()
    chat = model.load(arguments.store)
    for title, unit, rows in (
        (f"{QUESTIONS} answers of {NEW_TOKENS} tokens under one system prompt", "answers/s", decoding(chat, QUESTIONS)),
        ("a LoRA step on ten rows", "tokens/s", tuning(chat, 3)),
    ):
        table = Table("way", unit, "ratio to the first", "same result", title=title, title_justify="left", box=None)
        for name, speed, same in rows:
            table.add_row(name, f"{speed:.2f}", f"{speed / rows[0][1]:.2f}", "yes" if same else "no")
        Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
