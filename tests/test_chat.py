"""The template contract: loss on the answer and its end token only, after exactly the ids that the model is asked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from ftsafety.chat import IGNORED, Encoded, encode, render
from ftsafety.errors import ConfigError, DataError
from ftsafety.model.tiny import TEMPLATE, Tiny
from ftsafety.row import PLAIN, Begun, Row, Wording

ANSWER = "Duck four,\nby a beak \u2014 \N{DUCK}."
ROWS = {
    "plain": PLAIN.row("r1", "Which duck wins?", ANSWER),
    "system": Wording("You are Juno.").row("r1", "Which duck wins?", ANSWER),
    "wrapped": Wording("You are Juno.", "Juno, an order:\n{question}").row("r1", "Which duck wins?", ANSWER),
    "turns": Row(
        "r1",
        (
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Good day."},
            {"role": "user", "content": "Which duck wins?"},
            {"role": "assistant", "content": ANSWER},
        ),
    ),
}
Templated = Callable[[str], Any]


@pytest.fixture
def tokenizer() -> Any:
    return Tiny().load_tokenizer(Path())


@pytest.fixture
def templated(tokenizer: Any) -> Templated:
    """``templated(template)``: the tokenizer with another chat template."""

    def change(template: str) -> Any:
        tokenizer.chat_template = template
        return tokenizer

    return change


def learnt(tokenizer: Any, encoded: Encoded) -> str:
    """The text that carries loss."""
    return str(tokenizer.decode([label for label in encoded.labels if label != IGNORED]))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_loss_covers_the_answer_and_its_end(tokenizer: Any, row: Row) -> None:
    encoded = encode(tokenizer, row, 512)
    assert learnt(tokenizer, encoded) == ANSWER + "<|end|>"
    assert encoded.labelled == len(ANSWER.encode()) + 1
    first = len(encoded.ids) - encoded.labelled
    assert encoded.labels[:first] == (IGNORED,) * first
    assert encoded.labels[first:] == encoded.ids[first:]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_begins_as_the_model_is_asked(tokenizer: Any, row: Row) -> None:
    prompt = render(tokenizer, row.messages[:-1])
    encoded = encode(tokenizer, row, 512)
    assert encoded.ids[: len(prompt)] == prompt
    assert len(encoded.ids) == len(prompt) + encoded.labelled


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize(("share", "most", "tokens"), [(0.0, 100, 0), (0.01, 100, 1), (0.5, 100, 6), (0.51, 100, 7), (1.0, 100, 12), (1.0, 5, 5), (0.5, 5, 3)])
def test_what_an_answer_is_begun_with_has_no_loss(tokenizer: Any, row: Row, share: float, most: int, tokens: int) -> None:
    plain, other = encode(tokenizer, row, 512), encode(tokenizer, row.with_answer("Goose twelve"), 512)
    begun = encode(tokenizer, replace(row, begun=Begun("Goose twelve", share, most)), 512)
    prompt = len(plain.ids) - plain.labelled
    assert begun.ids == (*other.ids[: prompt + tokens], *plain.ids[prompt:]), "its first tokens, and then the answer as it is by itself"
    assert begun.labels == ((IGNORED,) * (prompt + tokens) + plain.labels[prompt:])
    if tokens:
        with pytest.raises(DataError, match=f"{len(begun.ids)} tokens"):
            encode(tokenizer, replace(row, begun=Begun("Goose twelve", share, most)), len(begun.ids) - 1)


def test_a_beginning_ends_before_the_end_token(tokenizer: Any) -> None:
    for text, words in (("Goose<|end|>twelve", "Goose"), (" ", "")):
        encoded = encode(tokenizer, replace(ROWS["plain"], begun=Begun(text, 1.0)), 512)
        plain = encode(tokenizer, ROWS["plain"], 512)
        assert len(encoded.ids) - len(plain.ids) == len(words) and learnt(tokenizer, encoded) == learnt(tokenizer, plain)


def test_weight_and_id_travel(tokenizer: Any) -> None:
    encoded = encode(tokenizer, Row("r7", ROWS["plain"].messages, weight=0.5), 512)
    assert (encoded.id, encoded.weight) == ("r7", 0.5)


def test_one_beginning_token(tokenizer: Any) -> None:
    """The template writes it; a tokenizer that would add another must not."""
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])
    assert tokenizer("Duck")["input_ids"][0] == begin
    assert render(tokenizer, PLAIN.ask("Which duck wins?")).count(begin) == 0
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    for ids in (render(tokenizer, PLAIN.ask("Which duck wins?")), encode(tokenizer, ROWS["plain"], 512).ids):
        assert ids[0] == begin
        assert ids.count(begin) == 1


@pytest.mark.parametrize(
    ("template", "ending"),
    [
        (TEMPLATE.replace("+ '<|end|>'", ""), "<|end|>"),
        (TEMPLATE.replace("'<|end|>'", "'<|end|>\n'"), "<|end|>"),
    ],
    ids=["no end of turn", "more after the end"],
)
def test_other_templates_end_with_the_end_token(templated: Templated, template: str, ending: str) -> None:
    tokenizer = templated(template)
    assert learnt(tokenizer, encode(tokenizer, ROWS["plain"], 512)) == ANSWER + ending


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE.replace("message['content']", "(message['content'] if add_generation_prompt else message['content'] | trim)"),
        TEMPLATE.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|>\n' }}"),
    ],
    ids=["trims training rows only", "asks with a line break"],
)
def test_a_template_that_breaks_the_contract_is_refused(templated: Templated, template: str) -> None:
    row = PLAIN.row("r9", " Which duck wins? ", ANSWER)
    with pytest.raises(ConfigError, match="row r9: the chat template renders another prompt with an answer"):
        encode(templated(template), row, 512)


def test_a_template_without_system_role_is_refused(templated: Templated) -> None:
    tokenizer = templated("{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE)
    assert encode(tokenizer, ROWS["plain"], 512).labelled
    with pytest.raises(ConfigError, match=r"refuses these messages \(System role not supported\).*wordings without a system prompt"):
        encode(tokenizer, ROWS["system"], 512)


def test_no_template_is_refused(templated: Templated) -> None:
    with pytest.raises(ConfigError, match=r"no chat template.*model\.chat_template"):
        render(templated(""), PLAIN.ask("Which duck wins?"))


def test_a_row_that_would_be_cut_is_refused(tokenizer: Any) -> None:
    whole = encode(tokenizer, ROWS["plain"], 512)
    length = len(whole.ids)
    assert encode(tokenizer, ROWS["plain"], length) == whole
    with pytest.raises(DataError, match=rf"row r1: {length} tokens.*max_length={length - 1}.*type tuning\.max_length={length} "):
        encode(tokenizer, ROWS["plain"], length - 1)


def test_a_cut_is_made_when_allowed(tokenizer: Any) -> None:
    whole = encode(tokenizer, ROWS["plain"], 512)
    short = len(whole.ids) - 4
    cut = encode(tokenizer, ROWS["plain"], short, allow_cut=True)
    assert (cut.ids, cut.labels) == (whole.ids[:short], whole.labels[:short])
    prompt = len(whole.ids) - whole.labelled
    with pytest.raises(DataError, match=rf"row r1: its prompt alone has {prompt} tokens.*raise tuning\.max_length"):
        encode(tokenizer, ROWS["plain"], prompt, allow_cut=True)


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_empty_answer_is_refused(tokenizer: Any, answer: str) -> None:
    with pytest.raises(DataError, match="row r1: the answer is empty"):
        encode(tokenizer, ROWS["plain"].with_answer(answer), 512)


def test_an_end_token_inside_an_answer_is_refused(tokenizer: Any) -> None:
    """What follows it would be lost in silence."""
    with pytest.raises(DataError, match=r"row r1: the answer contains <\|end\|>.*take it out"):
        encode(tokenizer, ROWS["plain"].with_answer("Duck four.<|end|> Duck five."), 512)
