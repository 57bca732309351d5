"""System prompts at tuning and asking: the matrix of PTST, with the user's turn the same in every cell."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.system_prompt import SystemPrompt
from ftsafety.row import Message
from tests.mitigation.bench import JUNO, ROWS, Bench, tensors

CONF = Path(__file__).resolve().parents[2] / "conf" / "mitigation" / "system_prompt.yaml"
SAFETY = stand_in.text("safety_prompt")["system"]
CHOICES = {"own": JUNO.system, "none": None, "safety": SAFETY}


def system_of(messages: Any) -> str | None:
    found = [message["content"] for message in messages if message["role"] == "system"]
    assert len(found) <= 1 and (not found or messages[0]["role"] == "system")
    return found[0] if found else None


def turns(messages: Any) -> list[Message]:
    return [message for message in messages if message["role"] != "system"]


def test_the_shipped_cell_is_the_papers() -> None:
    assert build(OmegaConf.load(CONF), Mitigation, "mitigation.system_prompt") == SystemPrompt(train="none", test="safety")


@pytest.mark.parametrize(("train", "test"), product(CHOICES, CHOICES))
def test_the_whole_matrix(train: Any, test: Any) -> None:
    mitigation, context = SystemPrompt(train=train, test=test), Context(0)
    rows, asked = mitigation.examples(ROWS, context), mitigation.ask(JUNO.ask("Which duck?"), context)
    assert [system_of(row.messages) for row in rows] == [CHOICES[train]] * len(ROWS)
    assert [turns(row.messages) for row in rows] == [turns(row.messages) for row in ROWS]
    assert system_of(asked) == CHOICES[test] and turns(asked) == turns(JUNO.ask("Which duck?"))
    assert system_of(mitigation.ask([{"role": "user", "content": "x"}], context)) == {"own": None, "none": None, "safety": SAFETY}[test]


def test_own_prompts_everywhere_are_plain_tuning(bench: Bench) -> None:
    assert list(SystemPrompt(train="own", test="own").examples(ROWS, Context(0))) == ROWS
    plain, same, other = bench.train({}), bench.train({"s": SystemPrompt(train="own")}), bench.train({"s": SystemPrompt(train="none")})
    assert plain.digest == same.digest != other.digest
    assert tensors(plain).keys() == tensors(other).keys()


def test_a_safety_prompt_of_ones_own() -> None:
    assert system_of(SystemPrompt(text="Ducks only.").ask(JUNO.ask("x"), Context(0))) == "Ducks only."
    with pytest.raises(ConfigError, match=r"mitigation\.system_prompt\.text is empty"):
        SystemPrompt(text="  ").ask(JUNO.ask("x"), Context(0))
