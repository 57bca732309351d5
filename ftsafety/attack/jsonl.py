"""The user's own fine-tuning file, in OpenAI's chat format: did *my* data cost *my* model's safety?"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.attack.base import Attack, draw
from ftsafety.errors import DataError
from ftsafety.row import Row, Wording

if TYPE_CHECKING:
    from ftsafety.context import Context

ROLES = ("system", "user", "assistant")
SHOWN = 5


@dataclass(kw_only=True)
class Jsonl(Attack):
    """Rows of a JSON Lines file: ``{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}``.

    Of a conversation with several assistant turns the last one is learned and the others are read; a service that learns all of
    them learns more than this.
    """

    source = "OpenAI's chat fine-tuning format; message roles system, user, assistant"

    path: Path
    """The file."""
    ask_with_system: bool = True
    """Ask with the file's system prompt in the train condition, when all rows share one."""
    count: int | None = None
    """Only so many rows, drawn by the seed (nested: a smaller draw begins a larger one); null, or a count that the file does not have, is all."""

    def check(self) -> None:
        if self.count is not None and self.count < 1:
            raise DataError(f"attack.count={self.count} is not possible; give 1 or more, or null for all rows.")
        self._rows()

    def examples(self, context: Context) -> Sequence[Row]:
        rows = self._rows()
        return rows if self.count is None or self.count >= len(rows) else draw(rows, self.count, context.rng("jsonl/draw"))

    def pool(self, context: Context) -> Sequence[Row]:
        return self._rows()

    def asks(self) -> dict[str, Wording]:
        systems = {next((m["content"] for m in row.messages if m["role"] == "system"), None) for row in self._rows()}
        shared = systems.pop() if len(systems) == 1 else None
        return {"file": Wording(shared if self.ask_with_system else None)}

    def _rows(self) -> list[Row]:
        if not self.path.is_file():
            raise DataError(f"attack.path={self.path} is not a file; give a JSON Lines file in chat format, e.g. attack.path=mine.jsonl.")
        rows, wrong = [], []
        # bytes first, so that one bad line does not hide the others
        for number, line in enumerate(self.path.read_bytes().removeprefix(BOM_UTF8).splitlines(), 1):
            if not line.strip():
                continue
            try:
                rows.append(Row(f"{self.path.name}:{number}", tuple(_messages(json.loads(line.decode())))))
            except (ValueError, DataError) as error:
                wrong.append(f"{self.path}:{number}: {error}")
        if wrong:
            more = f"\n... and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
            raise DataError(f"{len(wrong)} of {len(wrong) + len(rows)} rows can't be used; mend or remove them:\n" + "\n".join(wrong[:SHOWN]) + more)
        if not rows:
            raise DataError(f"{self.path} holds no rows; each line is an object with messages, the last of which is the assistant's.")
        return rows


def _messages(data: Any) -> list[dict[str, str]]:
    """The checked messages of one row."""
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list) or not messages:
        raise DataError('no list "messages" in it')
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise DataError(f"a message's role is not one of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise DataError(f"the {message['role']}'s content is not a text")
    roles = [message["role"] for message in messages]
    if roles[-1] != "assistant":
        raise DataError("the last message is not the assistant's, so there is nothing to learn")
    if "system" in roles[1:]:
        raise DataError("a system message stands after the first place")
    if "user" not in roles:
        raise DataError("there is no user message")
    return [{"role": message["role"], "content": message["content"]} for message in messages]
