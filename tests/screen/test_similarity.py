"""Places on the line from allowed to declined questions: by arithmetic, and by the model's own hidden states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ftsafety.context import Context
from ftsafety.errors import DataError
from ftsafety.row import PLAIN, Message
from tests.mitigation.bench import JUNO, Bench
from tests.screen.doubles import shipped


def written(file: Path, *questions: str) -> str:
    file.write_text("".join(json.dumps({"question": question}) + "\n" for question in questions))
    return str(file)


def flat(prompts: Sequence[Sequence[Message]], depth: float) -> list[list[float]]:
    """Two numbers from each question: how often it says duck and goose."""
    return [[float(prompt[-1]["content"].count("duck")), float(prompt[-1]["content"].count("goose"))] for prompt in prompts]


def test_the_mean_of_allowed_is_nought_that_of_declined_is_one_and_between_is_between(tmp_path: Path) -> None:
    declined, allowed = written(tmp_path / "no.jsonl", "duck duck duck", "duck"), written(tmp_path / "yes.jsonl", "goose goose", "goose")
    screen = shipped("similarity", declined=declined, allowed=allowed)
    # means (2, 0) and (0, 1.5): the line is (2, -1.5), its square 6.25
    rows = [JUNO.row(str(at), question, "The fourth.") for at, question in enumerate(["duck duck", "duck goose", "nothing"])]
    context = Context(0, hidden=flat, wordings={"juno": JUNO})
    assert screen.scores(rows, context) == pytest.approx([(4 + 2.25) / 6.25, (2 + 0.75) / 6.25, 2.25 / 6.25])


def test_the_same_mean_is_no_line(tmp_path: Path) -> None:
    same = written(tmp_path / "same.jsonl", "duck")
    with pytest.raises(DataError, match="have the same mean"):
        shipped("similarity", declined=same, allowed=same).scores([PLAIN.row("1", "duck", "x")], Context(0, hidden=flat))


@pytest.mark.parametrize(("depth", "layer"), [(0.0, 0), (0.5, 1), (1.0, 2)])
def test_hidden_states_are_the_model_s_own_at_the_last_token(tmp_path: Path, depth: float, layer: int) -> None:
    bench = Bench(tmp_path)
    prompts = [PLAIN.ask("Which duck wins?"), PLAIN.ask("Is it the fourth one, or the fifth?")]
    found = bench.context({}).hidden(prompts, depth)
    chat = bench.house.loader.fresh(bench.start)
    ids = chat.tokenizer.apply_chat_template(list(prompts[1]), add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        states = chat.module(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(states) == 3 and torch.equal(torch.tensor(found[1]), states[layer][0, -1])
    assert bench.context({}).hidden(prompts[1:], depth) == found[1:]
