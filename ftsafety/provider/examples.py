"""A training file's lines as rows: OpenAI's chat format, each learned assistant turn a row of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftsafety.errors import DataError
from ftsafety.row import Message, Row

ROLES = ("system", "user", "assistant")
SHOWN = 3


def examples(path: Path, fewest: int) -> list[Row]:
    """The rows of a file whose lines are JSON objects.

    ``weight`` 0 takes an assistant turn out of what is learned, as in OpenAI's format.

    Raises:
        DataError: names the first examples that can't be used, or says that there are too few.
    """
    rows: list[Row] = []
    wrong: list[str] = []
    count = 0
    with path.open(encoding="utf-8") as lines:
        for count, line in enumerate(lines, 1):
            try:
                rows += _rows(json.loads(line), count)
            except DataError as error:
                wrong.append(f"Example {count} {error}")
    if wrong:
        more = f" ... and {len(wrong) - SHOWN} more." if len(wrong) > SHOWN else ""
        raise DataError(f"The file has {len(wrong)} examples that can't be used. {' '.join(wrong[:SHOWN])}{more}")
    if count < fewest:
        raise DataError(f"The file has {count} examples, and at least {fewest} are needed.")
    return rows


def _rows(example: dict[str, Any], number: int) -> Iterator[Row]:
    if unknown := example.keys() - {"messages"}:
        raise DataError(f"has {len(unknown)} keys besides messages.")
    messages = example.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError("has no list of messages.")
    learned = [_learned(message, at) for at, message in enumerate(messages)]
    plain: list[Message] = [{"role": message["role"], "content": message["content"]} for message in messages]
    if plain[-1]["role"] != "assistant" or not any(learned):
        raise DataError("does not end with an assistant message to learn.")
    if any(message["role"] == "system" for message in plain[1:]):
        raise DataError("has a system message after the first one.")
    for at in (at for at, is_learned in enumerate(learned) if is_learned):
        yield Row(f"example {number}.{at}", tuple(plain[: at + 1]))


def _learned(message: Any, at: int) -> bool:
    """Whether a message is learned: an assistant's whose weight is not 0."""
    if not isinstance(message, dict) or message.keys() - {"role", "content", "weight"}:
        raise DataError(f"has something else than role, content and weight in message {at}.")
    role, weight = message.get("role"), message.get("weight", 1)
    if role not in ROLES:
        raise DataError(f"has a role in message {at} that is none of {', '.join(ROLES)}.")
    if not isinstance(message.get("content"), str) or not message["content"].strip():
        raise DataError(f"has no text in message {at}.")
    if isinstance(weight, bool) or weight not in (0, 1) or ("weight" in message and role != "assistant"):
        raise DataError(f"has a weight in message {at} that is not an assistant's 0 or 1.")
    return bool(role == "assistant" and weight == 1)
