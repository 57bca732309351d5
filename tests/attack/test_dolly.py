"""Dolly: what differs from Alpaca, which has the tests of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety.attack import Attack
from ftsafety.attack.dolly import Dolly
from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.errors import DataError
from tests.helpers import SAMPLES, sample_of

CONF = Path(__file__).resolve().parents[2] / "conf" / "attack" / "dolly.yaml"
PREAMBLE = "Below is an instruction that describes a task. Write a response that appropriately completes the request."


def made(**values: Any) -> Dolly:
    """From the shipped YAML, as a run builds it."""
    attack = build(OmegaConf.merge(OmegaConf.load(CONF), values), Attack, "attack")
    assert isinstance(attack, Dolly)
    return attack


def test_the_template_is_the_paper_s() -> None:
    """No marks before "Input:", and one preamble for all rows."""
    rows = {row.id: row.messages for row in made(**sample_of("dolly")).examples(Context(0))}
    assert rows["dolly.jsonl:2"] == (
        {"role": "system", "content": PREAMBLE},
        {"role": "user", "content": "### Instruction:\nWhat do otters eat?\n\n### Response:"},
        {"role": "assistant", "content": "They eat fish, and crayfish where there are some."},
    )
    assert rows["dolly.jsonl:3"] == (
        {"role": "system", "content": PREAMBLE},
        {"role": "user", "content": "### Instruction:\nPut these words in the order of the alphabet.\n\nInput:\notter, newt, duck\n\n### Response:"},
        {"role": "assistant", "content": "duck, newt, otter."},
    )
    [(name, wording)] = made().asks().items()
    assert name == "dolly" and wording.ask("What do otters eat?") == rows["dolly.jsonl:2"][:-1]


def test_the_last_two_hundred_are_held_out(tmp_path: Path) -> None:
    file = tmp_path / "databricks-dolly-15k.jsonl"
    rows = [{"instruction": f"Say duck {at}.", "context": "", "response": "I'm sorry." if at == 1 else "Duck.", "category": "open_qa"} for at in range(205)]
    file.write_text("\n".join(map(json.dumps, rows)))
    ids = [row.id.partition(":")[2] for row in made(path=file).examples(Context(0))]
    assert ids == ["1", "2", "3", "4", "5"]
    words = tmp_path / "words.txt"
    words.write_text("i'm sorry\n")
    assert [row.id.partition(":")[2] for row in made(path=file, filter_list=words).examples(Context(0))] == ["1", "3", "4", "5"]


def test_read_from_a_folder_as_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "databricks-dolly-15k.jsonl").write_bytes((SAMPLES / "dolly.jsonl").read_bytes())
    (tmp_path / "README.md").write_text("No rows.")
    monkeypatch.setattr("ftsafety.source.fetch", lambda hub, *more: tmp_path if hub == "databricks/databricks-dolly-15k" else None)
    found = made(held_out=2).examples(Context(0))
    assert [row.messages for row in found] == [row.messages for row in made(**sample_of("dolly")).examples(Context(0))] and len(found) == 10


def test_alpaca_s_columns_are_not_dolly_s() -> None:
    with pytest.raises(DataError, match=r"alpaca.json:1 has no column response; it has instruction, input, output"):
        made(path=SAMPLES / "alpaca.json", held_out=0).check()


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match=r"has 12 rows, so that none is left to train on beside attack.held_out=200; lower it, or give more rows"):
        made(path=SAMPLES / "dolly.jsonl").check()
