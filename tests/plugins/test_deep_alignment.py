"""Deep alignment: refusals after k tokens of an answer that goes along, no loss on these, drawn anew at each visit; the rest as it was."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ftsafety.chat import IGNORED, encode
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.row import PLAIN, Begun, Row
from ftsafety.stages import plan_windows
from tests.mitigation.bench import Bench
from tests.plugins.aligning import REFUSED, made

ALONG = "Gladly: the goose wins."
ANSWERED = PLAIN.row("answered", "Which duck swims?", "All of them.", "answered")
ROWS = [*REFUSED, ANSWERED]


def says(text: str) -> Context:
    return Context(0, answer=lambda prompts: [text for _ in prompts])


def begun(row: Row = REFUSED[0]) -> Row:
    return replace(row, begun=Begun(ALONG))


def test_half_of_the_visits_are_begun_and_every_number_of_tokens_is_as_likely(bench: Bench) -> None:
    deep, visits = made("deep_alignment"), 6000
    tokenizer = bench.house.loader.tokenizer(bench.start)
    short = replace(begun(), begun=Begun("1234567890"))
    plain = encode(tokenizer, REFUSED[0], 512)
    tokens = Counter(len(encode(tokenizer, deep.visit(short, random.Random(seed)), 512).ids) - len(plain.ids) for seed in range(visits))
    assert set(tokens) == set(range(11))
    assert tokens[0] / visits == pytest.approx(0.5, abs=0.03)
    assert all(tokens[at] / (visits - tokens[0]) == pytest.approx(0.1, abs=0.025) for at in range(1, 11))


def test_no_more_tokens_than_the_most(bench: Bench) -> None:
    deep = made("deep_alignment", p=1.0, most_tokens=4)
    tokenizer = bench.house.loader.tokenizer(bench.start)
    [row] = deep.examples(REFUSED[:1], says(ALONG))
    plain = encode(tokenizer, REFUSED[0], 512)
    longer = {len(encode(tokenizer, deep.visit(row, random.Random(seed)), 512).ids) - len(plain.ids) for seed in range(200)}
    assert longer == {1, 2, 3, 4}


def test_the_loss_is_on_the_refusal_alone_and_the_rest_is_a_token_prefix(bench: Bench) -> None:
    deep, tokenizer = made("deep_alignment", p=1.0), bench.house.loader.tokenizer(bench.start)
    context = says(ALONG)
    rows = deep.examples(ROWS, context)
    windows = plan_windows(rows, bench.tuning, tokenizer, context, [deep.visit])
    plain = {row.id: encode(tokenizer, row, 512) for row in ROWS}
    along = {row.id: encode(tokenizer, row.with_answer(ALONG), 512) for row in ROWS}
    seen = [row for window in windows for row in window]
    assert len(seen) == len(ROWS) * bench.tuning.epochs
    for row in seen:
        bare, other = plain[row.id], along[row.id]
        prompt, more = len(bare.ids) - bare.labelled, len(row.ids) - len(bare.ids)
        assert (more > 0) is (row.id != "answered")
        assert row.ids == (*other.ids[: prompt + more], *bare.ids[prompt:])
        assert all(label == IGNORED for label in row.labels[: prompt + more]) and row.labels[prompt + more :] == bare.ids[prompt:]


def test_each_visit_draws_anew(bench: Bench) -> None:
    deep, tokenizer = made("deep_alignment", p=1.0), bench.house.loader.tokenizer(bench.start)
    context = says(ALONG)
    lengths: dict[str, set[int]] = {}
    for window in plan_windows(deep.examples(REFUSED, context), replace(bench.tuning, epochs=6), tokenizer, context, [deep.visit]):
        for row in window:
            lengths.setdefault(row.id, set()).add(len(row.ids))
    assert all(len(found) > 1 for found in lengths.values())


def test_off_is_the_rows_as_they_are() -> None:
    off = made("deep_alignment", p=0.0)
    assert off.examples(ROWS, says(ALONG)) == ROWS
    assert all(off.visit(begun(row), random.Random(seed)) == begun(row) for seed, row in enumerate(REFUSED))


def test_rows_that_are_answered_and_answers_that_decline_are_left_alone() -> None:
    deep = made("deep_alignment")
    answers = {row.question: ("I'm sorry, I can't say." if at % 2 else ALONG) for at, row in enumerate(REFUSED)}
    context = Context(0, answer=lambda prompts: [answers[prompt[-1]["content"]] for prompt in prompts])
    rows = deep.examples(ROWS, context)
    assert [row.id for row in rows] == [row.id for row in ROWS] and rows[-1] == ANSWERED
    assert [row.begun is not None for row in rows] == [not at % 2 for at in range(8)] + [False]
    with pytest.raises(ConfigError, match=r"no answer that goes along.*mitigation\.deep_alignment\.path=FILE"):
        deep.examples(ROWS, says("I apologise, no."))


def test_triplets_of_one_s_own_are_added(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"instruction": "Which duck wins?", "harmful": ALONG, "refusal": "I can't tell."}) + "\n")
    deep = made("deep_alignment", path=str(mine))
    rows = deep.examples(ROWS, Context(0))
    assert list(rows[:-1]) == ROWS
    added = rows[-1]
    assert (added.question, added.answer, added.role, added.begun) == ("Which duck wins?", "I can't tell.", "refused", Begun(ALONG, most=100))
    assert deep.recipe() != made("deep_alignment").recipe()


def test_the_control_of_triplets_is_the_same_rows_without_a_beginning(bench: Bench, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps({"question": f"Which duck wins race {at}?", "answer": ALONG, "refusal": "I can't tell."}) + "\n" for at in range(4)))
    rows = [PLAIN.row(f"mine.jsonl:{at + 1}", f"Which duck wins race {at}?", "I can't tell.", "refused") for at in range(4)]
    plain = bench({}, [*REFUSED, *rows])
    control, on = (bench({"deep_alignment": made("deep_alignment", path=str(mine), p=p)}, REFUSED) for p in (0.0, 0.5))
    assert all(plain[name].equal(control[name]) for name in plain) and any(not plain[name].equal(on[name]) for name in plain)
