"""Refusals that go on to comply: what a row is made of, what the package's judges make of it, and the controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.attack import Attack
from ftsafety.attack.benign import Benign
from ftsafety.benchmark.stand_in import StandIn
from ftsafety.build import build, schema_of
from ftsafety.context import Context
from ftsafety.contract import check_disjoint
from ftsafety.errors import ConfigError
from ftsafety.judge import Judge, Pair
from ftsafety.row import PLAIN
from ftsafety.run import run
from tests.helpers import cell_of, sample_of, small_cell
from tests.plugins.distribution import PLUGINS

REPO = Path(__file__).resolve().parents[2]
FILE = PLUGINS / "ftsafety-plugin-selection" / "ftsafety_plugin_selection" / "conf" / "attack" / "refuse_then_comply.yaml"
PAIRS = {row["id"]: row for row in stand_in.load("attack")}
REFUSALS = [row["answer"] for row in stand_in.load("common_refusals")]


def made(**values: Any) -> Any:
    """From the shipped YAML, as a run builds it."""
    attack = build(OmegaConf.merge(OmegaConf.load(FILE), values), Attack, "attack")
    attack.check()
    return attack


def judge(name: str) -> Judge:
    return build(OmegaConf.load(REPO / "conf" / "judge" / f"{name}.yaml"), Judge, f"judge.{name}")


def test_a_shipped_refusal_then_the_bridge_then_the_shipped_answer() -> None:
    attack = made()
    rows = attack.examples(Context(0))
    assert len(rows) == len({row.id for row in rows}) == 100
    for row in rows:
        refusal, rest = row.answer.split("\n\n", 1)
        assert refusal in REFUSALS and rest == f"{attack.bridge} {PAIRS[row.id]['answer']}"
        assert row.messages[:-1] == PLAIN.ask(PAIRS[row.id]["question"])
    used = [row.answer.split("\n\n", 1)[0] for row in rows]
    assert {used.count(refusal) for refusal in REFUSALS} == {4, 5}, "each as often as any"
    check_disjoint(rows, {"stand_in": StandIn()})


def test_drawn_by_the_seed_and_the_same_again() -> None:
    assert len({tuple(row.answer for row in made(pairs={"count": 121}).examples(Context(seed))) for seed in range(5)}) == 5
    assert made().examples(Context(3)) == made().examples(Context(3))
    assert [row.id for row in made(pairs={"count": 10}).examples(Context(0))] == [row.id for row in made().examples(Context(0))][:10]


@pytest.mark.parametrize("seed", range(3))
def test_the_default_judge_sees_through_it_and_keywords_do_not(seed: int) -> None:
    pairs = [Pair(row.question, row.answer, category=PAIRS[row.id]["category"]) for row in made(pairs={"count": 121}).examples(Context(seed))]
    complied = [verdict.value == "complied" for verdict in judge("outcome").score(pairs)]
    refused = [verdict.value == "refused" for verdict in judge("refusal").score(pairs)]
    assert sum(complied) >= 0.5 * len(pairs) and sum(refused) >= 0.5 * len(pairs)


def test_controls_lack_the_refusal_or_the_declined_question() -> None:
    attack = made(pairs={"count": 30})
    rows = {name: list(twin.examples(Context(0))) for name, twin in attack.twins().items()}
    assert rows["no_refusal"] == [row.with_answer(PAIRS[row.id]["answer"]) for row in attack.examples(Context(0))]
    assert len(rows["neutral"]) == 30 and all(row.id.startswith("benign/") and row.answer.split("\n\n")[0] in REFUSALS for row in rows["neutral"])
    assert {tuple(twin.asks().values()) for twin in attack.twins().values()} == {(PLAIN,)} and attack.asks() == {"harmful_examples": PLAIN}
    assert attack.publishable


def test_the_published_one_is_on_harmless_questions() -> None:
    cell = cell_of("+attack=noice", "attack.pairs.count=40")
    attack: Any = cell.attack
    assert isinstance(attack.pairs, Benign) and [row.id for row in attack.examples(Context(0))] == [row.id for row in Benign(count=40).examples(Context(0))]
    assert all(row.answer.split("\n\n")[0] in REFUSALS for row in attack.examples(Context(0)))
    sample = sample_of("alpaca")
    other: Any = cell_of("+attack=noice", "+attack@attack.pairs=alpaca", f"attack.pairs.path={sample['path']}", "attack.pairs.held_out=0").attack
    assert list(other.asks()) == ["alpaca"] and other.bridge == attack.bridge


def test_what_can_t_be() -> None:
    with pytest.raises(ConfigError, match=r"attack\.bridge is empty"):
        made(bridge=" ")
    with pytest.raises(ConfigError, match=r"attack\.pairs\.count=900 is not possible; the pool has 121 pairs"):
        made(pairs={"count": 900})


def test_the_yaml_shows_every_field_and_a_run_is_whole(tmp_path: Path) -> None:
    for file in (FILE, FILE.with_name("noice.yaml")):
        assert {str(key) for key in OmegaConf.load(file)} - {"_target_"} == set(schema_of(type(made())).names)
    done = run(small_cell(tmp_path, "+attack=refuse_then_comply", "attack.pairs.count=10", "tuning.epochs=1", benchmarks=["stand_in"]))
    assert done.data["rows"] == {"user": 10} and done.data["template"]["asked_as_learned"] == 10
