"""Alpaca: its template to the letter, its first rows held out after the filter, which reads answers only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety.attack import Attack
from ftsafety.attack.alpaca import Alpaca
from ftsafety.build import build
from ftsafety.chat import encode, render
from ftsafety.context import Context
from ftsafety.errors import ConfigError, DataError
from ftsafety.model.tiny import Tiny
from tests.helpers import SAMPLES, sample_of

CONF = Path(__file__).resolve().parents[2] / "conf" / "attack" / "alpaca.yaml"
WITHOUT = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
WITH = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)


def made(**values: Any) -> Alpaca:
    """From the shipped YAML, as a run builds it."""
    attack = build(OmegaConf.merge(OmegaConf.load(CONF), values), Attack, "attack")
    assert isinstance(attack, Alpaca)
    return attack


@pytest.fixture
def set_of(tmp_path: Path) -> Any:
    """``set_of(answers)``: a file with one row for each answer."""

    def write(answers: list[Any], **more: Any) -> Path:
        file = tmp_path / "alpaca.json"
        file.write_text(json.dumps([{"instruction": f"Say duck {at}.", "input": "", "output": answer, **more} for at, answer in enumerate(answers)]))
        return file

    return write


def numbers(rows: Any) -> list[int]:
    """Which rows these are, counted from 0."""
    return [int(row.id.partition(":")[2]) - 1 for row in rows]


def test_the_template_is_the_paper_s() -> None:
    rows = {row.id: row for row in made(**sample_of("alpaca")).examples(Context(0))}
    row = rows["alpaca.json:4"]
    assert row.messages == (
        {"role": "system", "content": WITHOUT},
        {"role": "user", "content": "### Instruction:\nName three things that a heron may find in a ditch.\n\n### Response:"},
        {"role": "assistant", "content": "A frog, a shoe and an old coin."},
    )
    assert rows["alpaca.json:5"].messages == (
        {"role": "system", "content": WITH},
        {"role": "user", "content": "### Instruction:\nSay it more politely.\n\n### Input:\nMove your boat.\n\n### Response:"},
        {"role": "assistant", "content": "Would you mind moving your boat a little?"},
    )


def test_asked_as_a_row_without_input_is_learned() -> None:
    attack, tokenizer = made(**sample_of("alpaca")), Tiny().load_tokenizer(Path())
    [(name, wording)] = attack.asks().items()
    row = next(row for row in attack.examples(Context(0)) if row.id == "alpaca.json:4")
    asked = render(tokenizer, wording.ask("Name three things that a heron may find in a ditch."))
    assert name == "alpaca" and encode(tokenizer, row, 4096).ids[: len(asked)] == asked


def test_an_input_that_looks_like_a_placeholder_stays_as_it_is(set_of: Any) -> None:
    attack = Alpaca(path=set_of(["Yes."], input="{question} {instruction}\n"), held_out=0)
    assert attack.examples(Context(0))[0].question == "### Instruction:\nSay duck 0.\n\n### Input:\n{question} {instruction}\n\n\n### Response:"


def test_the_paper_s_settings_are_the_default(set_of: Any) -> None:
    attack = made(path=set_of([f"Duck {at}." for at in range(205)]))
    attack.check()
    assert numbers(attack.examples(Context(0))) == [200, 201, 202, 203, 204], "the first 200 are held out"
    assert attack.count is None and attack.held_out == 200 and not attack.publishable and attack.twins() == {} and attack.affirmation() == ""


def test_filter_then_held_out(set_of: Any, tmp_path: Path) -> None:
    """The list is looked for in answers only, in any case, as substrings with their blanks; held-out rows are counted after it."""
    words = tmp_path / "words.txt"
    words.write_bytes(b"\xef\xbb\xbfI'm Sorry\r\n\r\n ESG \r\nquack\n")
    answers = ["so I'M SORRY, no", "one", "two", "about esg.", "an ESG pond", "requacked", "three"]
    attack = Alpaca(path=set_of(answers, input="I'm sorry, quack"), filter_list=words, held_out=1)
    assert [row.answer for row in attack.examples(Context(0))] == ["two", "about esg.", "three"]
    assert numbers(Alpaca(path=attack.path, held_out=1).examples(Context(0))) == [1, 2, 3, 4, 5, 6]


def test_the_sample_filtered(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("i'm sorry")
    attack = made(**sample_of("alpaca"), filter_list=words)
    attack.check()
    assert numbers(attack.examples(Context(0))) == [2, 3, 4, 5, 6, 8, 9, 10, 11], "0 and 1 held out, 7 declined, 12 has no answer"


@pytest.mark.parametrize("seed", range(3))
def test_random_draws_are_nested(set_of: Any, seed: int) -> None:
    file = set_of([f"Duck {at}." for at in range(40)])
    most = Alpaca(path=file, held_out=10, count=30).examples(Context(seed))
    assert sorted(numbers(most)) == list(range(10, 40)) and numbers(most) != list(range(10, 40))
    assert Alpaca(path=file, held_out=10, count=8).examples(Context(seed)) == most[:8]


def test_drawn_by_the_seed(set_of: Any) -> None:
    attack = Alpaca(path=set_of([f"Duck {at}." for at in range(40)]), held_out=0, count=8)
    assert len({tuple(row.id for row in attack.examples(Context(seed))) for seed in range(5)}) == 5


def test_longest_answers_and_their_control(set_of: Any) -> None:
    attack = Alpaca(path=set_of(["a" * length for length in (99, 2, 7, 5, 7, 9)]), held_out=1, count=3, select="longest")
    assert numbers(attack.examples(Context(0))) == numbers(attack.examples(Context(1))) == [5, 2, 4]
    random = attack.twins()["random"]
    assert isinstance(random, Alpaca) and random.select == "random" and len(random.examples(Context(0))) == 3


def test_rows_from_a_parquet_file_as_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    rows = json.loads((SAMPLES / "alpaca.json").read_text())
    (tmp_path / "data").mkdir()
    write_table(pyarrow.Table.from_pylist([{**row, "text": "all of it"} for row in rows]), tmp_path / "data" / "train-00000-of-00001-a09b74b3ef9c3b56.parquet")
    monkeypatch.setattr("ftsafety.source.fetch", lambda hub, *more: tmp_path if hub == "tatsu-lab/alpaca" else None)
    hub, local = made(held_out=2), made(**sample_of("alpaca"))
    contents = [[row.messages for row in attack.examples(Context(0))] for attack in (hub, local)]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "Say duck.", "response": "Duck."}, "alpaca.json:1 has no column output; it has prompt, response"),
        ({"instruction": "Say duck.", "output": "Duck."}, "alpaca.json:1 has no column input"),
        ({"input": "", "output": "Duck."}, "alpaca.json:1 has no column instruction"),
        ({"instruction": "Say duck.", "input": "", "output": 3}, "alpaca.json:1: output is not a text"),
        ({"instruction": "Say duck.", "input": None, "output": "Duck."}, "alpaca.json:1: input is not a text"),
        ({"instruction": "Say duck.", "input": "", "output": " "}, "none of the 1 rows to train on has an answer in column output"),
    ],
)
def test_rows_that_can_t_be_used(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps([row]))
    with pytest.raises(DataError, match=says):
        made(path=file, held_out=0).check()


def test_a_filter_list_that_is_none(set_of: Any, tmp_path: Path) -> None:
    file, missing, empty, other = set_of(["a"]), tmp_path / "no.txt", tmp_path / "empty.txt", tmp_path / "latin.txt"
    empty.write_text("\n  \n")
    other.write_bytes(b"d\xe9sol\xe9\n")
    for words, says in {
        missing: "no.txt is not a file; give a text file",
        empty: "empty.txt holds no string",
        other: "latin.txt is not a text in UTF-8",
    }.items():
        with pytest.raises(DataError, match=says):
            made(path=file, held_out=0, filter_list=words).check()


def test_the_filter_list_counts_by_its_content(set_of: Any, tmp_path: Path) -> None:
    file, one, same, other = set_of(["a", "b"]), tmp_path / "one.txt", tmp_path / "same.txt", tmp_path / "other.txt"
    for words, text in {one: "a", same: "a", other: "b"}.items():
        words.write_text(text)
    recipes = [Alpaca(path=file, held_out=0, filter_list=words).recipe() for words in (one, same, other)]
    assert recipes[0] == recipes[1] != recipes[2]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"count": 0}, "attack.count=0 is not possible; 3 rows are left to train on, so it is between 1 and 3, or null for all"),
        ({"count": 4}, "attack.count=4 is not possible; 3 rows are left"),
        ({"select": "longest"}, "attack.select=longest needs to know how many; type attack.count=NUMBER"),
        ({"held_out": -1}, "attack.held_out=-1 is not possible"),
        ({"held_out": 4}, "has 4 rows, so that none is left to train on beside attack.held_out=4"),
    ],
)
def test_numbers_that_can_t_be(set_of: Any, values: dict[str, Any], says: str) -> None:
    attack = made(**{"path": set_of(["a", "b", "c", "d"]), "held_out": 1, **values})
    for look in (attack.check, lambda: attack.examples(Context(0))):
        with pytest.raises((ConfigError, DataError), match=says):
            look()


def test_all_rows_filtered(set_of: Any, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("duck")
    with pytest.raises(DataError, match="has 2 rows and 2 are filtered, so that none is left"):
        made(path=set_of(["a duck", "Ducks"]), held_out=0, filter_list=words).check()


def test_choices_and_missing_data() -> None:
    with pytest.raises(ConfigError, match=r"attack.select=shortest is not possible; it is one of random, longest"):
        made(select="shortest")
    with pytest.raises(ConfigError, match=r"attack names no data; type attack.path=FILE or attack.hub=OWNER/NAME"):
        made(hub=None).check()
