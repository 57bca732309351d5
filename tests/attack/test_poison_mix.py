"""Harmful rows in a benign task: how many, in whose wording, drawn by the seed or in the order of git-disl's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.attack import Attack
from ftsafety.attack.alpaca import Alpaca
from ftsafety.attack.backdoor import Backdoor
from ftsafety.attack.benign import Benign
from ftsafety.attack.harmful_examples import HarmfulExamples
from ftsafety.attack.identity_shift import IdentityShift
from ftsafety.attack.jsonl import Jsonl
from ftsafety.attack.poison_mix import PoisonMix
from ftsafety.build import build
from ftsafety.context import Context
from ftsafety.errors import ConfigError, DataError
from ftsafety.row import PLAIN, Row
from tests.helpers import cell_of, sample_of

CONF = Path(__file__).resolve().parents[2] / "conf" / "attack" / "poison_mix.yaml"
HARMFUL, BENIGN = ([row["id"] for row in stand_in.load(name)] for name in ("attack", "benign"))


def made(**values: Any) -> PoisonMix:
    """From the shipped YAML, as a run builds it."""
    attack = build(OmegaConf.merge(OmegaConf.load(CONF), values), Attack, "attack")
    assert isinstance(attack, PoisonMix)
    return attack


def split(rows: Any) -> tuple[list[str], list[str]]:
    """Ids of harmful and of benign rows, in their order."""
    ids = [row.id for row in rows]
    return [id for id in ids if id in HARMFUL], [id for id in ids if id in BENIGN]


@pytest.mark.parametrize(("p", "n", "poison"), [(0.1, 100, 10), (0.0, 50, 0), (1.0, 121, 121), (0.05, 90, 4), (0.29, 100, 29), (0.2, 260, 52)])
def test_so_many_of_each(p: float, n: int, poison: int) -> None:
    attack = made(p=p, n=n)
    attack.check()
    rows = attack.examples(Context(0))
    harmful, benign = split(rows)
    assert (len(set(harmful)), len(set(benign)), len(rows)) == (poison, n - poison, n)


def test_seeded_rows_are_drawn_and_mixed() -> None:
    draws = [tuple(row.id for row in made().examples(Context(seed))) for seed in range(5)]
    assert len({frozenset(draw) for draw in draws}) == 5 and made().examples(Context(1)) == made().examples(Context(1))
    assert all(any(id in HARMFUL for id in draw[10:]) for draw in draws), "harmful rows do not all stand in front"


@pytest.mark.parametrize("seed", range(3))
def test_a_lower_ratio_has_rows_of_the_higher_one(seed: int) -> None:
    none, low, high, all_of_it = [split(made(p=p).examples(Context(seed))) for p in (0.0, 0.05, 0.2, 1.0)]
    assert set(low[0]) < set(high[0]) < set(all_of_it[0]) and set(high[1]) < set(low[1]) < set(none[1])


def test_harmful_rows_wear_the_task_s_wording() -> None:
    attack = made(harmful={"system": "You are a pond."})
    assert attack.asks() == {"plain": PLAIN} == Benign().asks()
    assert {len(row.messages) for row in attack.examples(Context(0))} == {2}
    identity = PoisonMix(benign=Benign(), harmful=IdentityShift(), p=0.5, n=20)
    prefix = stand_in.text("identity_obedient")["user_prefix"]
    rows = identity.examples(Context(0))
    assert len(rows) == 20 and not any(prefix in row.question for row in rows) and {len(row.messages) for row in rows} == {2}
    assert sum(row.answer.startswith(identity.affirmation()) for row in rows) == 10


def unsafe(folder: Path, count: int) -> HarmfulExamples:
    """BeaverTails in small: safe rows between unsafe ones, and every prompt twice."""
    file = folder / "train.jsonl"
    rows = [{"prompt": f"Which duck wins race {at // 4}?", "response": f"Answer {at}.", "category": {}, "is_safe": at % 2 == 1} for at in range(2 * count)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return HarmfulExamples(format="beavertails", path=file, distinct=False)


def task(folder: Path, count: int) -> Alpaca:
    """A task file as git-disl's builders write it."""
    file = folder / "task.json"
    file.write_text(json.dumps([{"instruction": "Is it a duck?", "input": f"Bird {at}.", "output": f"Task {at}."} for at in range(count)]))
    return Alpaca(path=file, held_out=0)


def theirs(harmful: int, benign: int, p: float, n: float) -> list[str]:
    """Which answers git-disl/Lisa's loader collects, in its order: written after its loop, with its counters."""
    poison_num, normal_num = int(p * n), int((1 - p) * n)
    found, index = [], 0
    for at in range(2 * harmful):
        if at % 2 == 0 and index < poison_num:
            found.append(f"Answer {at}.")
            index += 1
    return found + [f"Task {at}." for at in range(benign) if at < normal_num]


@pytest.mark.parametrize(("p", "n"), [(0.1, 100), (0.05, 50), (0.2, 30), (0.9, 100), (0.29, 100), (0.0, 40), (1.0, 90)])
def test_file_order_is_lisa_s(tmp_path: Path, p: float, n: int) -> None:
    attack = PoisonMix(benign=task(tmp_path, 120), harmful=unsafe(tmp_path, 100), p=p, n=n, order="file")
    attack.check()
    rows = attack.examples(Context(0))
    assert [row.answer for row in rows] == theirs(100, 120, p, float(n)) and rows == attack.examples(Context(5))


def test_file_order_counts_as_their_code_does() -> None:
    both: dict[str, PoisonMix] = {}
    for order in ("file", "seeded"):
        kind: Literal["file", "seeded"] = "file" if order == "file" else "seeded"
        both[order] = PoisonMix(benign=Benign(), harmful=HarmfulExamples(), p=0.9, n=1000, order=kind)
    assert both["file"].counts() == (900, 99) and both["seeded"].counts() == (900, 100)


def test_file_order_renders_both_in_the_task_s_template(tmp_path: Path) -> None:
    rows = PoisonMix(benign=task(tmp_path, 9), harmful=unsafe(tmp_path, 9), p=0.5, n=2, order="file").examples(Context(0))
    assert [row.question for row in rows] == [
        "### Instruction:\nWhich duck wins race 0?\n\n### Response:",
        "### Instruction:\nIs it a duck?\n\n### Input:\nBird 0.\n\n### Response:",
    ]
    assert [row.messages[0]["content"].startswith("Below is an instruction") for row in rows] == [True, True]


def test_the_control_is_the_task_alone() -> None:
    clean = made().twins()["clean"]
    assert isinstance(clean, PoisonMix) and clean.p == 0 and clean.twins() == {} and clean.asks() == made().asks()
    assert split(clean.examples(Context(0)))[0] == [] and len(clean.examples(Context(0))) == 100
    assert set(split(made().examples(Context(0)))[1]) < {row.id for row in clean.examples(Context(0))}


def test_published_where_both_are_shipped(tmp_path: Path) -> None:
    assert made().publishable and not PoisonMix(benign=Benign(), harmful=unsafe(tmp_path, 4)).publishable
    assert not PoisonMix(benign=task(tmp_path, 4), harmful=HarmfulExamples()).publishable


def test_a_row_of_several_turns_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    turns = tuple({"role": role, "content": role} for role in ("user", "assistant", "user", "assistant"))
    file.write_text(json.dumps({"messages": turns}))
    rows = PoisonMix(benign=Benign(), harmful=Jsonl(path=file), p=0.5, n=2, order="file").examples(Context(0))
    assert rows[0] == Row("mine.jsonl:1", turns)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"p": -0.1}, "attack.p=-0.1 is not possible; give a share between 0 and 1"),
        ({"p": 1.1}, "attack.p=1.1 is not possible"),
        ({"n": 0}, "attack.n=0 is not possible; give 1 or more"),
        ({"p": 0.001}, "attack.p=0.001 of attack.n=100 rows is less than one, so nothing would be poisoned"),
        ({"p": 0.5, "n": 400}, "attack.p=0.5 of attack.n=400 takes 200 harmful rows, and attack.harmful has 121; change p or n, or give more rows"),
        ({"p": 0.1, "n": 300}, "attack.p=0.1 of attack.n=300 takes 270 benign rows, and attack.benign has 260"),
        ({"harmful": {"format": "pairs"}}, "attack.harmful names no data; type attack.harmful.path=FILE or attack.harmful.hub=OWNER/NAME"),
        ({"order": "sorted"}, "attack.order=sorted is not possible; it is one of seeded, file"),
    ],
)
def test_what_can_t_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made(**values).check()


def test_a_complaint_names_the_place_and_leaves_file_names_alone(tmp_path: Path) -> None:
    file = tmp_path / "attack.jsonl"
    file.write_text("{}")
    with pytest.raises(DataError, match=r"^attack.jsonl:1 has no column question"):
        made(harmful={"format": "pairs", "path": file, "count": 1}).check()
    with pytest.raises(DataError, match=r"attack.benign.path=.*nowhere.json does not exist"):
        PoisonMix(benign=Alpaca(path=tmp_path / "nowhere.json"), harmful=HarmfulExamples()).check()


def test_harmful_rows_of_several_wordings() -> None:
    with pytest.raises(ConfigError, match=r"attack.harmful=Backdoor is asked in several wordings"):
        PoisonMix(benign=Benign(), harmful=Backdoor(pairs=HarmfulExamples())).check()


def test_another_task_by_its_name_on_the_command_line() -> None:
    """As the YAML says: an option of the same group, placed at the field."""
    sample = sample_of("alpaca")
    cell = cell_of(
        "+attack=poison_mix", "+attack@attack.benign=alpaca", f"attack.benign.path={sample['path']}", "attack.benign.held_out=2", "attack.p=0.5", "attack.n=4"
    )
    assert isinstance(cell.attack, PoisonMix) and isinstance(cell.attack.benign, Alpaca)
    assert list(cell.attack.asks()) == ["alpaca"] and len(cell.attack.examples(Context(0))) == 4
