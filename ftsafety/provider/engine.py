"""Answers to conversations: requests that wait are decoded together, by one thread, on the models that were asked for last.

A batch is all that waits for the same weights in the same way of decoding when the thread becomes free, so that a lone request waits for nobody
and many share their steps. Decoding is that of every run (``ftsafety.decode``).
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftsafety.provider.errors import ApiError
from ftsafety.row import Message

if TYPE_CHECKING:
    from ftsafety.model import Chat
    from ftsafety.weights import Loader, Weights

LOADED = 2
"""Models kept in memory: the base model, and the fine-tuned one that is being measured."""
SEEDS = 2**31


@dataclass(frozen=True)
class Decode:
    """How a request is decoded; requests that are equal in it share a batch."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Said:
    """An answer: its text, whether ``max_tokens`` cut it, and the tokens read and written."""

    text: str
    truncated: bool
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, eq=False)
class _Waiting:
    weights: Weights
    decode: Decode
    messages: Sequence[Message]
    ids: tuple[int, ...]
    answer: Future[Said] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[str, Decode]:
        return self.weights.digest, self.decode


class Engine:
    """Asks models, from any thread.

    Args:
        batch: most requests decoded at the same time.
    """

    def __init__(self, loader: Loader, batch: int) -> None:
        self.loader, self.batch = loader, batch
        self.batches: deque[int] = deque(maxlen=1000)
        """Sizes of the last batches."""
        self._chats: OrderedDict[str, Chat] = OrderedDict()
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._rendering = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def ask(self, weights: Weights, messages: Sequence[Message], decode: Decode) -> Future[Said]:
        """Put a request in line.

        Raises:
            ApiError: the conversation is too long for the model, or one that its template does not take.
        """
        ids = self._render(weights, messages) if weights.model.local else ()
        if weights.model.local and (most := self._context(weights)) is not None and len(ids) + decode.max_tokens > most:
            raise ApiError(
                400,
                f"This model's maximum context length is {most} tokens. However, you requested {len(ids) + decode.max_tokens} tokens "
                f"({len(ids)} in the messages, {decode.max_tokens} in the completion).",
                param="messages",
                code="context_length_exceeded",
            )
        waiting = _Waiting(weights, decode, messages, ids)
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.answer

    def _render(self, weights: Weights, messages: Sequence[Message]) -> tuple[int, ...]:
        from ftsafety.chat import render
        from ftsafety.errors import ConfigError

        # a tokenizer is not made for several threads
        with self._rendering:
            try:
                return render(self.loader.tokenizer(weights), messages)
            except ConfigError:
                raise ApiError(400, "Invalid value for 'messages': the model takes no such order of roles.", param="messages", code="invalid_value") from None

    def _context(self, weights: Weights) -> int | None:
        with self._rendering:
            return getattr(weights.model.config(self.loader.store), "max_position_embeddings", None)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                first = self._waiting[0].kind
                together = [one for one in self._waiting if one.kind == first][: self.batch]
                self._waiting = [one for one in self._waiting if one not in together]
            self.batches.append(len(together))
            try:
                for one, said in zip(together, self._decode(together), strict=True):
                    one.answer.set_result(said)
            except Exception as error:
                # those who wait are told, and the next ones are served
                for one in together:
                    if not one.answer.done():
                        one.answer.set_exception(error)

    def _decode(self, together: Sequence[_Waiting]) -> list[Said]:
        chat, decode = self._chat(together[0].weights), together[0].decode
        if chat.reply:
            return [_by_itself(chat.reply, one.messages) for one in together]
        from ftsafety.decode import decode_batch

        decoded = decode_batch(
            chat.module, [one.ids for one in together], max_new_tokens=decode.max_tokens, end_tokens=chat.end_tokens,
            temperature=decode.temperature, top_p=decode.top_p, seed=decode.seed,
        )  # fmt: skip
        with self._rendering:
            texts = [chat.tokenizer.decode(row.ids, skip_special_tokens=True) for row in decoded]
        return [Said(text, row.truncated, len(one.ids), len(row.ids)) for one, row, text in zip(together, decoded, texts, strict=True)]

    def _chat(self, weights: Weights) -> Chat:
        """The loaded model; those asked for last are kept."""
        if weights.digest not in self._chats:
            if weights.model.local:
                from ftsafety.quiet import quiet

                quiet()
            while len(self._chats) >= LOADED:
                self._chats.popitem(last=False)
            self._chats[weights.digest] = self.loader.fresh(weights)
        self._chats.move_to_end(weights.digest)
        return self._chats[weights.digest]


def _by_itself(reply: Callable[[str], str], messages: Sequence[Message]) -> Said:
    """The answer of a model without tokens, whose words are counted in their place."""
    text = reply(messages[-1]["content"])
    return Said(text, False, sum(len(message["content"].split()) for message in messages), len(text.split()))


def any_seed() -> int:
    """A seed for a request that names none."""
    return secrets.randbelow(SEEDS)
