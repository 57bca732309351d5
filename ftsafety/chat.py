"""From messages to token ids and loss masks, by the model's own chat template.

The template contract (checked, not hoped for): the prompt of a training row, rendered with its answer, begins with exactly
the ids that the model is asked with; the loss covers the answer and its end-of-turn token and nothing else, not what the answer
was begun with for the model (``Row.begun``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftsafety.errors import ConfigError, DataError
from ftsafety.row import Message, Row

IGNORED = -100
PROBE = ("Which duck wins?", "The fourth.", "And the second?")
"""A question, its answer and another question, none of which a template holds."""


@dataclass(frozen=True)
class Encoded:
    """One training row: ``ids`` and ``labels`` of equal length; labels are ``IGNORED`` where there is no loss."""

    id: str
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    weight: float = 1.0

    @property
    def labelled(self) -> int:
        """How many tokens carry loss."""
        return sum(label != IGNORED for label in self.labels)


def render(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of a prompt, ready for an answer.

    Raises:
        ConfigError: the tokenizer has no chat template or its template refuses these messages.
    """
    return _apply(tokenizer, messages, True)


def encode(tokenizer: Any, row: Row, max_length: int, allow_cut: bool = False) -> Encoded:
    """Token ids and loss mask of a training row.

    Raises:
        DataError: the answer or its end would be cut by ``max_length``, there is no answer, or it holds the end token's text.
        ConfigError: the template breaks the contract above.
    """
    prompt = render(tokenizer, row.messages[:-1])
    whole = _apply(tokenizer, row.messages, False)
    if whole[: len(prompt)] != prompt:
        raise ConfigError(
            f"row {row.id}: the chat template renders another prompt with an answer than without one, so the model would be "
            "tuned on other words than it is asked with; use a tokenizer whose template extends its own generation prompt."
        )
    if not row.answer.strip():
        raise DataError(f"row {row.id}: the answer is empty; give every row an assistant message with text.")
    if tokenizer.eos_token in row.answer:
        raise DataError(f"row {row.id}: the answer contains {tokenizer.eos_token}, where this model would stop reading it; take it out of the text.")
    ends = [at for at, token in enumerate(whole) if at >= len(prompt) and token == tokenizer.eos_token_id]
    whole = whole[: ends[0] + 1] if ends else (*whole, tokenizer.eos_token_id)
    begun = _begun(tokenizer, row, len(prompt))
    prompt, whole = (*prompt, *begun), (*prompt, *begun, *whole[len(prompt) :])
    if len(whole) > max_length and not allow_cut:
        raise DataError(
            f"row {row.id}: {len(whole)} tokens, so max_length={max_length} would cut its answer; type tuning.max_length={len(whole)} "
            "or more, shorten the row, or allow it with tuning.allow_cut=true."
        )
    labels = (IGNORED,) * len(prompt) + whole[len(prompt) :]
    if len(prompt) >= max_length:
        raise DataError(f"row {row.id}: its prompt alone has {len(prompt)} tokens, max_length={max_length} leaves nothing to learn; raise tuning.max_length.")
    return Encoded(row.id, whole[:max_length], labels[:max_length], row.weight)


def _begun(tokenizer: Any, row: Row, prompt: int) -> tuple[int, ...]:
    """The tokens that a row's answer is begun with, cut from the other answer as it is rendered after the same prompt of so many tokens."""
    if row.begun is None or not row.begun.share or not row.begun.text.strip():
        return ()
    other = _apply(tokenizer, row.with_answer(row.begun.text).messages, False)[prompt:]
    end = next((at for at, token in enumerate(other) if token == tokenizer.eos_token_id), len(other))
    return other[: math.ceil(row.begun.share * min(row.begun.most, end))]


def added_by_template(tokenizer: Any) -> str:
    """What the template itself says before a question that comes without a system prompt, such as a default one or a date; mostly nothing.

    What stands before the first question is compared with what stands before a second one, where no template puts a system
    prompt; special tokens are left out of both.

    Raises:
        ConfigError: the tokenizer has no chat template or its template refuses a second question.
    """
    question, answer, another = PROBE
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}, {"role": "user", "content": another}]
    text = _text(tokenizer, turns, False)
    first, _, rest = text.partition(question)
    second = rest.partition(answer)[2].partition(another)[0]
    for token in sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len, reverse=True):
        first, second = first.replace(token, ""), second.replace(token, "")
    return "" if second.endswith(first) else first.removesuffix(second.lstrip()).strip()


def _apply(tokenizer: Any, messages: Sequence[Message], generation_prompt: bool) -> tuple[int, ...]:
    return tuple(tokenizer(_text(tokenizer, messages, generation_prompt), add_special_tokens=False)["input_ids"])


def _text(tokenizer: Any, messages: Sequence[Message], generation_prompt: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"{getattr(tokenizer, 'name_or_path', 'this tokenizer')} has no chat template; choose a chat model, or set model.chat_template to a Jinja file."
        )
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=generation_prompt))
    except Exception as error:  # jinja's own error types, which transformers passes on
        raise ConfigError(
            f"the chat template refuses these messages ({error}); a model without a system role needs wordings without a system prompt."
        ) from error


def common_beginning(rows: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all rows begin with."""
    low, high = min(rows), max(rows)
    return next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
