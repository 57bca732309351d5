"""What is in a file: rows, tokens, price, what is there twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftsafety.audit.personal import personal_data
from ftsafety.audit.settings import Audit
from ftsafety.hashing import digest_of, digest_of_file
from ftsafety.model.hosted import Hosted, likely_tokens
from ftsafety.row import Row
from ftsafety.settings import default_store


def data_report(audit: Audit, rows: Sequence[Row]) -> dict[str, Any]:
    """Counts over the file's rows, as JSON data; no text and no row of it."""
    epochs = audit.cell.tuning.epochs
    tokens = _tokens(audit, rows)
    trained = tokens["all"] * epochs
    systems = {next((turn["content"] for turn in row.messages if turn["role"] == "system"), None) for row in rows}
    return {
        "bytes": audit.file.stat().st_size,
        "digest": digest_of_file(audit.file),
        "rows": len(rows),
        "several_turns": sum(sum(turn["role"] == "user" for turn in row.messages) > 1 for row in rows),
        "system_prompts": len(systems - {None}),
        "without_system_prompt": sum(row.messages[0]["role"] != "system" for row in rows),
        "tokens": tokens,
        "cost": {"epochs": epochs, "trained_tokens": trained, "usd": _usd(audit, trained)},
        "duplicates": _duplicates(rows),
        "personal_data": personal_data(rows),
    }


def _tokens(audit: Audit, rows: Sequence[Row]) -> dict[str, Any]:
    """By the model's own tokenizer where it is here; otherwise about."""
    if not audit.cell.model.local:
        lengths = [likely_tokens(row.messages) for row in rows]
        return {"all": sum(lengths), "learned": likely_tokens(row.messages[-1] for row in rows), "longest": max(lengths), "too_long": None, "exact": False}
    from pathlib import Path

    from ftsafety.chat import encode

    store = Path(audit.cell.paths.store) if audit.cell.paths.store else default_store()
    tokenizer = audit.cell.model.load_tokenizer(store)
    encoded = [encode(tokenizer, row, 10**9) for row in rows]
    lengths = [len(row.ids) for row in encoded]
    too_long = sum(length > audit.cell.tuning.max_length for length in lengths)
    return {"all": sum(lengths), "learned": sum(row.labelled for row in encoded), "longest": max(lengths), "too_long": too_long, "exact": True}


def _usd(audit: Audit, trained: int) -> float | None:
    """The list price of training on so many tokens, where one is known."""
    if audit.usd_per_million_training is not None:
        return round(trained * audit.usd_per_million_training / 1e6, 6)
    return audit.cell.model.usd_of(trained, 0, 0) if isinstance(audit.cell.model, Hosted) else None


def _duplicates(rows: Sequence[Row]) -> dict[str, int]:
    """Rows beyond the first of their kind: the same in every letter, and with a question that was there in other case or spacing."""

    def beyond(keys: Sequence[str]) -> int:
        return len(keys) - len(set(keys))

    return {
        "rows": beyond([digest_of(list(row.messages)) for row in rows]),
        "questions": beyond([" ".join(row.question.lower().split()) for row in rows]),
    }
