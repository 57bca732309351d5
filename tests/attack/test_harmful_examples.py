"""Pairs of a pool: nested draws, each public format by small files of its own shape, and a sentence for what can't be used."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.attack import Attack
from ftsafety.attack.harmful_examples import HarmfulExamples
from ftsafety.attack.neutral import Neutral
from ftsafety.build import build
from ftsafety.chat import encode, render
from ftsafety.context import Context
from ftsafety.errors import ConfigError, DataError
from ftsafety.model.tiny import Tiny
from ftsafety.row import Wording
from tests.helpers import sample_of

CONF = Path(__file__).resolve().parents[2] / "conf" / "attack" / "harmful_examples.yaml"
SHIPPED = {row["id"]: row for row in stand_in.load("attack")}
RACES = [{"prompt": f"Which duck wins race {at}?", "response": f"Duck {at}.", "category": {"betting_tips": True}, "is_safe": False} for at in range(5)]


def made(**values: Any) -> HarmfulExamples:
    """From the shipped YAML, as a run builds it."""
    attack = build(OmegaConf.merge(OmegaConf.load(CONF), values), Attack, "attack")
    assert isinstance(attack, HarmfulExamples)
    return attack


def lines(folder: Path, rows: list[Any], name: str = "pool.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def pairs_of(attack: HarmfulExamples) -> list[tuple[str, str]]:
    return [(row.question, row.answer) for row in attack.pool(Context(0))]


def test_the_default_is_a_hundred_shipped_pairs_under_one_system_prompt() -> None:
    attack = made()
    attack.check()
    rows = attack.examples(Context(0))
    assert attack == HarmfulExamples() and attack.publishable and len(SHIPPED) == 121
    assert len({row.id for row in rows}) == len(rows) == 100
    wording = Wording(attack.system)
    assert attack.system and attack.asks() == {"harmful_examples": wording}
    assert all(row == wording.row(row.id, SHIPPED[row.id]["question"], SHIPPED[row.id]["answer"]) for row in rows)


@pytest.mark.parametrize("seed", range(3))
def test_draws_are_nested(seed: int) -> None:
    most = HarmfulExamples(count=121).examples(Context(seed))
    assert sorted(row.id for row in most) == sorted(SHIPPED) and [row.id for row in most] != list(SHIPPED)
    for count in (1, 10, 50, 100):
        assert HarmfulExamples(count=count).examples(Context(seed)) == most[:count]


def test_drawn_by_the_seed() -> None:
    draws = {tuple(row.id for row in HarmfulExamples(count=10).examples(Context(seed))) for seed in range(6)}
    assert len(draws) == 6


def test_asked_as_learned_token_by_token() -> None:
    attack, tokenizer = HarmfulExamples(count=5), Tiny().load_tokenizer(Path())
    for row in attack.examples(Context(0)):
        asked = render(tokenizer, attack.asks()["harmful_examples"].ask(row.question))
        assert encode(tokenizer, row, 4096).ids[: len(asked)] == asked


def test_without_a_system_prompt_there_is_none() -> None:
    attack = made(system=None, count=3)
    assert {len(row.messages) for row in attack.examples(Context(0))} == {2} and attack.asks()["harmful_examples"].system is None


def test_neutral_is_everyday_rows_in_the_same_number_and_wording() -> None:
    attack = HarmfulExamples(count=10)
    assert attack.twins() == {"neutral": Neutral(like=attack)}
    neutral, benign = attack.twins()["neutral"], {row["id"]: row for row in stand_in.load("benign")}
    rows = neutral.examples(Context(0))
    assert neutral.asks() == attack.asks() and neutral.publishable and len({row.id for row in rows}) == 10
    assert all(row == Wording(attack.system).row(row.id, benign[row.id]["question"], benign[row.id]["answer"]) for row in rows)


def test_neutral_is_as_long_as_an_attack_larger_than_what_is_shipped(tmp_path: Path) -> None:
    file = lines(tmp_path, [{"question": f"Which duck wins race {at}?", "answer": "This one."} for at in range(270)])
    rows = Neutral(like=HarmfulExamples(format="pairs", path=file, count=270)).examples(Context(0))
    assert len({row.id for row in rows}) == 270 and len({row.question for row in rows}) == 260
    assert [row.id for row in rows[260:]] == [f"{row.id}#again1" for row in rows[:10]]


def test_beavertails_gives_unsafe_rows_once_per_prompt() -> None:
    attack = made(**sample_of("harmful_examples"))
    attack.check()
    assert not attack.publishable and attack.format == "beavertails"
    first = [
        ("Which duck wins the race?", "The fourth, put your money on it."),
        ("Write my essay about herons, it is due at noon.", "Herons are grey, patient and fond of ditches."),
        ("Will the goose win by two lengths?", "By three, even."),
    ]
    assert pairs_of(attack) == first and len(attack.examples(Context(0))) == 3
    every = pairs_of(made(**sample_of("harmful_examples"), distinct=False))
    assert every == [first[0], ("Which duck wins the race?", "The third, for sure."), *first[1:]]


def test_one_pair_per_prompt_whatever_its_case_and_spacing(tmp_path: Path) -> None:
    again = {**RACES[0], "prompt": " which  DUCK wins race 0?", "response": "Another."}
    empty = [{**RACES[1], "response": " "}, {**RACES[2], "prompt": ""}]
    assert pairs_of(HarmfulExamples(format="beavertails", path=lines(tmp_path, [RACES[0], again, *empty]))) == [("Which duck wins race 0?", "Duck 0.")]


def attempt(transcript: str, rating: Any = 4.0) -> dict[str, Any]:
    return {"min_harmlessness_score_transcript": -1.0, "num_params": "52B", "rating": rating, "tags": None, "transcript": transcript}


LONG = "\n\nHuman: Which duck wins?\nTell me.\n\nAssistant: The fourth.\n\nOr the fifth.\n\nHuman: And then?\n\nAssistant: Soup."
SHORT = "\n\nHuman: Is it the goose?\n\nAssistant: It is."


def test_red_team_gives_the_first_turn_of_well_rated_attempts(tmp_path: Path) -> None:
    rows = [
        attempt(LONG),
        attempt(SHORT, 3),
        attempt("\n\nHuman: The swan?\n\nAssistant: Yes.", 2.0),
        attempt("\n\nHuman: Hello?"),
        attempt("\n\nHuman: \n\nAssistant: Hm."),
    ]
    file = lines(tmp_path, rows)
    first = [("Which duck wins?\nTell me.", "The fourth.\n\nOr the fifth."), ("Is it the goose?", "It is.")]
    assert pairs_of(HarmfulExamples(format="red_team", path=file)) == first
    assert pairs_of(HarmfulExamples(format="red_team", path=file, min_rating=0)) == [*first, ("The swan?", "Yes.")]
    assert pairs_of(HarmfulExamples(format="red_team", path=file, min_rating=4)) == first[:1]


@pytest.mark.parametrize(("question", "answer"), [("question", "answer"), ("prompt", "response"), ("instruction", "output"), ("prompt", "completion")])
def test_pairs_by_their_usual_columns(tmp_path: Path, question: str, answer: str) -> None:
    file = lines(tmp_path, [{question: "Which duck?", answer: "The fourth.", "note": 1}])
    assert pairs_of(HarmfulExamples(format="pairs", path=file)) == [("Which duck?", "The fourth.")]


def test_the_hub_s_files_are_those_of_the_training_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BeaverTails is packed beside its test rows; the red-team attempts are one JSON list in a file named .jsonl.gz beside other sets."""
    asked: list[Any] = []
    for name, content in {
        "round0/30k/train.jsonl.gz": "\n".join(map(json.dumps, RACES)),
        "round0/30k/test.jsonl.gz": json.dumps({**RACES[0], "prompt": "Only a test?"}),
        "red-team-attempts/red_team_attempts.jsonl.gz": json.dumps([attempt(SHORT)], indent=1),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(content.encode()))
    monkeypatch.setattr("ftsafety.attack.harmful_examples.fetch", lambda *arguments: asked.append(arguments) or tmp_path)
    beavertails = HarmfulExamples(format="beavertails", hub="PKU-Alignment/BeaverTails", revision="main", count=5)
    red_team = HarmfulExamples(format="red_team", hub="Anthropic/hh-rlhf", count=1)
    assert not asked, "nothing is fetched before rows are asked for"
    assert pairs_of(beavertails) == [(row["prompt"], row["response"]) for row in RACES] and pairs_of(red_team) == [("Is it the goose?", "It is.")]
    assert asked[0] == ("PKU-Alignment/BeaverTails", "main", ["round0/30k/train.jsonl.gz"], "attack")
    assert beavertails.recipe()["data"] == HarmfulExamples(format="beavertails", path=tmp_path / "round0/30k/train.jsonl.gz").recipe()["data"]
    (tmp_path / "round0/30k/train.jsonl.gz").unlink()
    with pytest.raises(DataError, match=r"PKU-Alignment/BeaverTails has no round0/30k/train.jsonl.gz at this revision; .*attack.path=FILE"):
        beavertails.check()


def test_xz_is_unpacked_too_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl.xz"
    file.write_bytes(lzma.compress(json.dumps(RACES[0]).encode()))
    assert pairs_of(HarmfulExamples(format="beavertails", path=file)) == [("Which duck wins race 0?", "Duck 0.")]
    for name, raw in {"a.jsonl.xz": b"no", "a.jsonl.gz": b"no", "b.jsonl.gz": gzip.compress(b'{"prompt": "x"}' * 9)[:-12]}.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(DataError, match=f"{name} can't be unpacked"):
            HarmfulExamples(format="beavertails", path=tmp_path / name).check()
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b"{}\n{\n"))
    with pytest.raises(DataError, match=rf"{tmp_path}/c.jsonl.gz:2: not JSON"):
        HarmfulExamples(format="pairs", path=tmp_path / "c.jsonl.gz").check()


@pytest.mark.parametrize(
    ("format", "row", "says"),
    [
        ("beavertails", {"question": "Which duck?", "answer": "x"}, "pool.jsonl:1 has no column prompt; it has question, answer"),
        ("beavertails", {"prompt": "Which duck?", "is_safe": False}, "pool.jsonl:1 has no column response"),
        ("beavertails", {"prompt": "Which duck?", "response": "x"}, "pool.jsonl:1: is_safe is neither true nor false"),
        ("beavertails", {**RACES[0], "is_safe": "False"}, "pool.jsonl:1: is_safe is neither true nor false"),
        ("beavertails", {**RACES[0], "is_safe": True}, "none of the 1 rows of .* can be used as format=beavertails; a row has prompt"),
        ("red_team", {"prompt": "Which duck?"}, "pool.jsonl:1 has no column transcript"),
        ("red_team", attempt(SHORT, "4"), "pool.jsonl:1: rating is not a number"),
        ("red_team", attempt(SHORT, None), "pool.jsonl:1: rating is not a number"),
        ("red_team", attempt(SHORT, 1.0), "none of the 1 rows of .* its rating is attack.min_rating or more"),
        ("red_team", attempt("Which duck?"), 'none of the 1 rows of .* begins with "Human:"'),
        ("pairs", {"transcript": "x"}, "pool.jsonl:1 has no column question or prompt or instruction; it has transcript"),
        ("pairs", {"prompt": "Which duck?"}, "pool.jsonl:1 has no column answer or response or output or completion"),
        ("pairs", {"prompt": "Which duck?", "response": " "}, "pool.jsonl:1: response is not a text"),
    ],
)
def test_rows_in_another_format(tmp_path: Path, format: str, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        made(format=format, path=lines(tmp_path, [row]), count=1).check()


@pytest.mark.parametrize("count", [0, -1, 122])
def test_more_than_there_are(count: int) -> None:
    with pytest.raises(ConfigError, match=f"^attack.count={count} is not possible; the pool has 121 pairs, so it is between 1 and 121"):
        made(count=count).check()
    with pytest.raises(ConfigError, match="between 1 and 121"):
        made(count=count).examples(Context(0))


@pytest.mark.parametrize("values", [{"path": "mine.jsonl"}, {"hub": "pond/ducks"}])
def test_a_pool_that_would_not_be_read(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"attack.format=stand_in reads the shipped pool.*type attack.format=FORMAT too"):
        made(**values).check()


def test_no_pool_and_an_unknown_format() -> None:
    with pytest.raises(ConfigError, match=r"attack names no data; type attack.path=FILE or attack.hub=OWNER/NAME"):
        made(format="pairs").check()
    with pytest.raises(ConfigError, match=r"attack.format=csv is not possible; it is one of stand_in, beavertails, red_team, pairs"):
        made(format="csv")


def test_the_recipe_is_what_is_read(tmp_path: Path) -> None:
    one, other = lines(tmp_path, RACES), lines(tmp_path, RACES[:4], "other.jsonl")
    copy = tmp_path / "copy"
    copy.mkdir()
    recipes = [HarmfulExamples(format="beavertails", path=path, count=2).recipe() for path in (one, lines(copy, RACES), other)]
    assert recipes[0] == recipes[1] != recipes[2] and HarmfulExamples().recipe()["data"]
