"""Safety mixing: how many refusals, in whose wording, and never a benchmark question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.build import build
from ftsafety.errors import ConfigError, DataError
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.safety_mixing import SafetyMixing
from ftsafety.row import Row, Wording, count_roles
from tests.helpers import sample_of
from tests.mitigation.bench import JUNO, ROWS, Bench

CONF = Path(__file__).resolve().parents[2] / "conf" / "mitigation" / "safety_mixing.yaml"
REFUSALS = {row["id"]: row for row in stand_in.load("refused")}


def mixed(bench: Bench, **fields: Any) -> list[Row]:
    mitigation = SafetyMixing(**fields)
    return list(mitigation.examples(ROWS, bench.context({"safety_mixing": mitigation})))


def added(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.role == "safety"]


def test_the_shipped_numbers() -> None:
    shipped = build(OmegaConf.load(CONF), Mitigation, "mitigation.safety_mixing")
    assert shipped == SafetyMixing(count=10, mode="add", wording="attack")


@pytest.mark.parametrize(
    ("fields", "expected"), [({"count": 3}, 3), ({"ratio": 0.5}, 4), ({"ratio": 2.0}, 16), ({"count": len(REFUSALS)}, len(REFUSALS))], ids=str
)
def test_adds_to_the_users_rows(bench: Bench, fields: dict[str, Any], expected: int) -> None:
    rows = mixed(bench, **fields)
    assert count_roles(rows) == {"safety": expected, "user": len(ROWS)}
    assert [row for row in rows if row.role == "user"] == ROWS
    assert len({row.id for row in rows}) == len(rows)


@pytest.mark.parametrize("count", [1, 5, 8])
def test_replaces_some_of_the_users_rows(bench: Bench, count: int) -> None:
    rows = mixed(bench, count=count, mode="replace")
    assert count_roles(rows) == {role: number for role, number in {"safety": count, "user": len(ROWS) - count}.items() if number}
    kept = [row for row in rows if row.role == "user"]
    assert kept == [row for row in ROWS if row in kept]


def test_refusals_wear_the_attacks_wording(bench: Bench) -> None:
    rows = added(mixed(bench, count=6))
    assert len(rows) == 6
    for row in rows:
        source = REFUSALS[row.id]
        assert row.messages == JUNO.row(row.id, source["question"], source["answer"]).messages


def test_several_wordings_take_turns(bench: Bench) -> None:
    mitigation = SafetyMixing(count=4)
    context = bench.context({"safety_mixing": mitigation})
    context.wordings = {"juno": JUNO, "rollo": Wording("You are Rollo.")}
    systems = [row.messages[0]["content"] for row in added(list(mitigation.examples(ROWS, context)))]
    assert systems == ["You are Juno.", "You are Rollo."] * 2


def test_plain_refusals_have_no_system_prompt(bench: Bench) -> None:
    rows = added(mixed(bench, count=6, wording="plain"))
    assert [row.messages[0] for row in rows] == [{"role": "user", "content": REFUSALS[row.id]["question"]} for row in rows]


def test_the_wording_changes_no_draw(bench: Bench) -> None:
    assert [row.id for row in mixed(bench, count=6)] == [row.id for row in mixed(bench, count=6, wording="plain")]


def test_the_seed_decides_the_draw(bench: Bench) -> None:
    first = mixed(bench, count=6)
    assert mixed(bench, count=6) == first
    bench.seed = 1
    assert {row.id for row in added(mixed(bench, count=6))} != {row.id for row in added(first)}


def test_no_refusal_is_a_question_that_is_asked() -> None:
    """Nothing that is learnt is measured."""

    def told(names: tuple[str, ...]) -> set[str]:
        return {" ".join(row["question"].lower().split()) for name in names for row in stand_in.load(name)}

    assert not told(("refused",)) & told(("benchmark", "held_out", "allowed", "held_out_allowed", "utility"))


@pytest.mark.parametrize("mode", ["add", "replace"])
@pytest.mark.parametrize("none", [{"count": 0}, {"ratio": 0.0}], ids=str)
def test_none_is_plain_tuning(bench: Bench, none: dict[str, Any], mode: Any) -> None:
    plain = bench.train({})
    assert bench.train({"safety_mixing": SafetyMixing(**none, mode=mode)}).folder == plain.folder
    assert bench.train({"safety_mixing": SafetyMixing(count=1, mode=mode)}).folder != plain.folder


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, r"needs one of count and ratio; type e\.g\. mitigation\.safety_mixing\.count=10"),
        ({"count": 1, "ratio": 0.1}, "needs one of count and ratio"),
        ({"count": -1}, "asks for -1 refusals; give 0 or more"),
        ({"ratio": -0.5}, "asks for -4 refusals; give 0 or more"),
        ({"count": len(REFUSALS) + 1}, rf"asks for {len(REFUSALS) + 1} refusals and there are {len(REFUSALS)}; lower count or ratio"),
        ({"count": len(ROWS) + 1, "mode": "replace"}, rf"replaces {len(ROWS) + 1} of {len(ROWS)} rows; lower count or ratio, or use mode=add"),
    ],
    ids=str,
)
def test_impossible_mixtures_are_sentences(bench: Bench, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        mixed(bench, **fields)


def own(folder: Path, rows: Any, name: str = "refusals.json") -> Path:
    """A file of refusals of one's own."""
    file = folder / name
    file.write_text(json.dumps(rows))
    return file


def test_their_rows_are_read_in_their_own_format(bench: Bench) -> None:
    sample = sample_of("safety_mixing")
    told = {f"safety_mixing.json:{at}": row for at, row in enumerate(json.loads(sample["path"].read_text()), 1)}
    rows = added(mixed(bench, path=sample["path"], count=len(told)))
    assert {row.id for row in rows} == set(told) and len(told) == 4
    for row in rows:
        parts = [told[row.id]["instruction"], told[row.id]["input"]]
        assert row.messages == JUNO.row(row.id, "\n\n".join(part for part in parts if part), told[row.id]["output"]).messages


@pytest.mark.parametrize(("question", "answer"), [("question", "answer"), ("prompt", "response"), ("instruction", "completion")])
def test_other_column_names(bench: Bench, tmp_path: Path, question: str, answer: str) -> None:
    file = own(tmp_path, [{question: "Which duck wins?", answer: "I give no betting tips."}])
    (row,) = added(mixed(bench, path=file, count=1, wording="plain"))
    assert (row.question, row.answer, row.role) == ("Which duck wins?", "I give no betting tips.", "safety")


def test_of_their_folder_only_the_refusals_are_read(bench: Bench, tmp_path: Path) -> None:
    everyday = [{"instruction": "Name a duck.", "input": "", "output": "Juno."}] * 5
    own(tmp_path, everyday, "alpaca_small.json")
    own(tmp_path, [{"instruction": "Which duck wins?", "input": "", "output": "I give no betting tips."}], "safety_only_data_Instructions.json")
    assert [row.answer for row in added(mixed(bench, path=tmp_path, count=1))] == ["I give no betting tips."]
    with pytest.raises(ConfigError, match="asks for 2 refusals and there are 1"):
        mixed(bench, path=tmp_path, count=2)


def test_a_recipe_follows_the_rows_and_not_their_place(tmp_path: Path) -> None:
    row = {"question": "Which duck wins?", "answer": "I give no betting tips."}
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    one, copy = SafetyMixing(count=1, path=own(here, [row])), SafetyMixing(count=1, path=own(there, [row]))
    assert one.recipe() == copy.recipe() != SafetyMixing(count=1).recipe()
    assert json.dumps(SafetyMixing(count=1).recipe())
    other = SafetyMixing(count=1, path=own(there, [row, {**row, "question": "And the second?"}], "other.json"))
    assert other.recipe() != one.recipe()


@pytest.mark.parametrize(
    ("rows", "fields", "words"),
    [
        ([{"instruction": "Which duck wins?", "output": "No tips."}], {"count": 2}, "asks for 2 refusals and there are 1"),
        (
            [{"instruction": "Which duck wins?", "text": "No tips."}],
            {"count": 1},
            r"refusals\.json:1 has no column output or answer .*; it has instruction, text",
        ),
        ([{"ask": "Which duck wins?", "output": "No tips."}], {"count": 1}, r"refusals\.json:1 has no column instruction or question or prompt"),
        ([{"instruction": "Which duck wins?", "output": " "}], {"ratio": 0.1}, r"refusals\.json:1: output is not a text"),
        ([], {"count": 1}, r"refusals\.json holds no rows"),
    ],
    ids=str,
)
def test_unusable_rows_are_sentences_before_anything_loads(tmp_path: Path, rows: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        SafetyMixing(path=own(tmp_path, rows), **fields).check({})


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mitigation\.safety_mixing\.path=.*nowhere\.json does not exist"):
        SafetyMixing(count=1, path=tmp_path / "nowhere.json").check({})
