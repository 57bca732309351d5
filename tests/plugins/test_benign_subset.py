"""Benign subsets: scores of hand-made features are known, a gradient is the plain loss's, and controls are as many rows of the same task."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from ftsafety import stand_in
from ftsafety.attack import Attack
from ftsafety.attack.benign import Benign
from ftsafety.attack.harmful_examples import HarmfulExamples
from ftsafety.benchmark.stand_in import StandIn
from ftsafety.build import build, schema_of
from ftsafety.chat import IGNORED, Encoded, encode
from ftsafety.context import Context, Inspection
from ftsafety.contract import check_disjoint
from ftsafety.errors import ConfigError
from ftsafety.model.constant import Constant
from ftsafety.model.tiny import Tiny
from ftsafety.plan import plan
from ftsafety.row import PLAIN, Row, Wording
from ftsafety.run import run
from ftsafety.stages import House, tuning_context
from tests.helpers import small_cell
from tests.plugins.distribution import PLUGINS

WAYS = ("benign_subset_representation", "benign_subset_gradient")
CONF = PLUGINS / "ftsafety-plugin-selection" / "ftsafety_plugin_selection" / "conf" / "attack"
POOL = [row["id"] for row in stand_in.load("benign")]
HIDDEN, AFTER = [12.0, 5.0], [3.0, 4.0]
"""Two states by hand: their lengths are 13 and 5, and the cosine of one with the other is 56/65."""


def made(way: str, **values: Any) -> Any:
    """From the shipped YAML, as a run builds it."""
    attack = build(OmegaConf.merge(OmegaConf.load(CONF / f"{way}.yaml"), values), Attack, "attack")
    attack.check()
    return attack


def context(folder: Path, seed: int = 0) -> Context:
    """What a run gives to an attack, with the tiny model as start."""
    house = House.at(folder / "store")
    found = tuning_context(house, house.loader.weights(Tiny()), seed, [], {})
    found.house = house  # type: ignore[attr-defined]
    return found


def ids(rows: Any) -> list[str]:
    return [row.id for row in rows]


def model() -> Any:
    return Tiny().load(Path()).module.requires_grad_(True)


def rows_of(*pairs: tuple[str, str]) -> list[Encoded]:
    return [encode(Tiny().load_tokenizer(Path()), PLAIN.row(question, question, answer), 4096) for question, answer in pairs]


FEW = (("Which duck wins?", "The fourth."), ("Why?", "It swims with its feet and not with its beak."), ("Who?", "I."))


# --- representation matching ----------------------------------------------------------------------------------------------
def test_nearness_is_the_mean_cosine_with_the_nearest_anchors() -> None:
    from ftsafety_plugin_selection.benign_subset_representation import nearness

    candidates, anchors = torch.tensor([HIDDEN, [-2.0, 0.0], [0.0, 0.0]]), torch.tensor([AFTER, [5.0, 0.0], [0.0, -1.0]])
    assert nearness(candidates, anchors, 1) == pytest.approx([12 / 13, 0.0, None], abs=1e-6)
    assert nearness(candidates, anchors, 2)[:2] == pytest.approx([(12 / 13 + 56 / 65) / 2, -0.3], abs=1e-6)
    assert nearness(7 * candidates, anchors / 9, 3)[:2] == pytest.approx([(12 / 13 + 56 / 65 - 5 / 13) / 3, -1.6 / 3], abs=1e-6)


def test_states_are_those_after_the_last_norm_whatever_is_read_beside_them() -> None:
    from ftsafety_plugin_selection.benign_subset_representation import last_states

    rows, module = rows_of(*FEW), model()
    together = last_states(module, rows)
    for row, state in zip(rows, together, strict=True):
        with torch.no_grad():
            alone = module.model(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1]
        assert row.ids[-1] == Tiny().load_tokenizer(Path()).eos_token_id and torch.allclose(state, alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


# --- gradient matching ----------------------------------------------------------------------------------------------------
def test_a_gradient_is_that_of_the_plain_loss() -> None:
    from ftsafety_plugin_selection.benign_subset_gradient import gradient

    (row,), module = rows_of(FEW[1]), model()
    found = gradient(module, row)
    # transformers' own loss is the mean over labelled tokens
    module(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss.backward()
    plain = [p.grad for p in module.parameters()]
    assert len(found) == len(plain) and all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, plain, strict=True))
    assert max(float(part.abs().max()) for part in found) > 1e-3


def test_an_anchor_s_first_answer_tokens_count() -> None:
    from ftsafety_plugin_selection.benign_subset_gradient import beginning

    (row,) = rows_of(FEW[1])
    first = next(at for at, label in enumerate(row.labels) if label != IGNORED)
    cut = beginning(row, 10)
    assert cut.ids == row.ids and cut.labelled == 10 and cut.labels[first : first + 10] == row.labels[first : first + 10]
    assert beginning(row, 1000) == row


def test_means_are_of_directions_and_a_score_is_a_candidate_s_length_along_them() -> None:
    from ftsafety_plugin_selection.benign_subset_gradient import along, mean_direction

    def split(*values: float) -> list[torch.Tensor]:
        return [torch.tensor(values[:1]), torch.tensor(values[1:])]

    mean = mean_direction([split(*HIDDEN), split(*[3 * at for at in AFTER])])
    assert torch.cat(mean).tolist() == pytest.approx([(12 / 13 + 3 / 5) / 2, (5 / 13 + 4 / 5) / 2])
    assert along(split(0.0, 7.0), mean) == pytest.approx((5 / 13 + 4 / 5) / 2) and along(split(0.0, 0.0), mean) is None
    # the mean of opposite directions is none, and is not stretched to length one
    assert torch.cat(mean_direction([split(1.0, 0.0), split(-2.0, 0.0)])).tolist() == [0.0, 0.0]


def test_a_score_is_one_cosine_less_two() -> None:
    """One anchor of each set and its whole answer: the score is cosines of plain gradients, summed with 1, -1, -1."""
    way, rows, module = made("benign_subset_gradient", answer_tokens=1000), rows_of(*FEW, ("What?", "Nothing.")), model()
    found = way.score(module, rows, {"harmful": rows[:1], "safe_1": rows[1:2], "safe_2": rows[2:3]})

    def flat(row: Encoded) -> torch.Tensor:
        module.zero_grad()
        module(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss.backward()
        return torch.cat([p.grad.flatten().clone() for p in module.parameters()])

    flats = [flat(row) for row in rows]
    cosine = [[float(torch.cosine_similarity(one, other, dim=0)) for other in flats[:3]] for one in flats]
    assert found == pytest.approx([harmful - first - second for harmful, first, second in cosine], abs=1e-5)
    assert max(found) - min(found) > 0.1


def test_safe_anchors_are_the_harmful_ones_questions_declined_in_two_ways(tmp_path: Path) -> None:
    anchors = made("benign_subset_gradient").anchors(context(tmp_path))
    refusals = {row["answer"] for row in stand_in.load("common_refusals")}
    assert {name: len(rows) for name, rows in anchors.items()} == {"harmful": 10, "safe_1": 10, "safe_2": 10}
    for harmful, one, other in zip(*anchors.values(), strict=True):
        assert harmful.messages[:-1] == one.messages[:-1] == other.messages[:-1] and one.answer != other.answer
        assert {one.answer, other.answer} <= refusals and harmful.answer not in refusals


# --- what both share ------------------------------------------------------------------------------------------------------
class Scored:
    """Stands for the start model: a row is as long as its question has words, and has the score that its id is given."""

    def __init__(self, scores: dict[str, float | None]) -> None:
        self.scores, self.asked = scores, 0

    def context(self, seed: int = 0) -> Context:
        return Context(seed, encoded=lambda rows: [self.read(row) for row in rows], inspect=self.inspect)

    def read(self, row: Row) -> Encoded:
        size = len(row.question.split()) + 1
        return Encoded(row.id, tuple(range(size)), (IGNORED, *range(size - 1)))

    def inspect(self, spec: Inspection) -> Any:
        self.asked += 1
        return [self.scores.get(row.id, 0.0) for row in spec.rows[: len(spec.unknown)]]


@pytest.mark.parametrize("way", WAYS)
def test_the_highest_scores_are_chosen_and_a_row_without_one_never(way: str) -> None:
    scored = Scored({"benign/003": 0.9, "benign/200": 0.4, "benign/017": None, "benign/050": -0.2, "benign/060": -0.3})
    found = scored.context()
    assert ids(made(way, count=4, max_tokens=999).examples(found)) == ["benign/003", "benign/200", "benign/001", "benign/002"]
    assert found.findings["benign_subset"]["candidates"] == 259 and found.findings["benign_subset"]["score"] == pytest.approx(1.3 / 4)
    assert ids(made(way, count=3, max_tokens=999, select="bottom").examples(scored.context())) == ["benign/060", "benign/050", "benign/001"]
    every = made(way, count=259, max_tokens=999).examples(scored.context())
    assert set(POOL) - set(ids(every)) == {"benign/017"}


@pytest.mark.parametrize("way", WAYS)
def test_controls_are_as_many_rows_of_the_same_task_and_need_no_score(way: str) -> None:
    attack, scored = made(way, count=30, max_tokens=999), Scored({id: at / 260 for at, id in enumerate(POOL)})
    chosen = {name: twin.examples(scored.context()) for name, twin in attack.twins().items()}
    assert {name: len(set(ids(rows))) for name, rows in chosen.items()} == {"random": 30, "bottom": 30, "longest": 30}
    assert scored.asked == 1 and all(set(ids(rows)) <= set(POOL) for rows in chosen.values())
    assert ids(chosen["bottom"]) == POOL[:30] and ids(attack.examples(scored.context())) == POOL[:-31:-1]
    lengths = [len(row.question.split()) for row in chosen["longest"]]
    assert lengths == sorted((len(row["question"].split()) for row in stand_in.load("benign")), reverse=True)[:30]
    draws = {tuple(ids(attack.twins()["random"].examples(scored.context(seed)))) for seed in range(5)}
    assert len(draws) == 5 and all(twin.twins() == {} for twin in attack.twins().values())
    smaller = made(way, count=10, max_tokens=999, select="random").examples(scored.context())
    assert ids(smaller) == ids(chosen["random"])[:10]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("select", ["top", "bottom", "random", "longest"])
def test_rows_that_are_too_long_are_in_no_choice(way: str, select: str) -> None:
    scored = Scored({id: at / 260 for at, id in enumerate(POOL)})
    rows = made(way, count=5, max_tokens=12, select=select).examples(scored.context())
    assert len(rows) == 5 and all(len(row.question.split()) + 1 <= 12 for row in rows)
    with pytest.raises(ConfigError, match=r"attack.count=5 is not possible; 0 rows of attack.benign can be chosen \(attack.max_tokens=1\)"):
        made(way, count=5, max_tokens=1, select=select).examples(scored.context())


@pytest.mark.parametrize("way", WAYS)
def test_what_is_chosen_is_the_same_again_and_is_scored_once(way: str, tmp_path: Path) -> None:
    first, again = context(tmp_path), context(tmp_path)
    attack = made(way, count=12)
    rows = attack.examples(first)
    assert rows == attack.examples(again) == attack.examples(context(tmp_path / "elsewhere"))
    found = made(way, count=40, select="bottom").examples(again)
    made_or_found = [(stage["stage"], stage["reused"]) for stage in again.house.stages]  # type: ignore[attr-defined]
    assert made_or_found == [("inspect", True)] and not set(ids(found)) & set(ids(rows))
    assert again.house.stages[0]["rows"] == 260 + (100 if way == WAYS[0] else 30)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("way", "other"), [(WAYS[0], {"nearest": 3}), (WAYS[1], {"answer_tokens": 3})])
def test_what_changes_a_score_is_another_inspection(way: str, other: dict[str, int], tmp_path: Path) -> None:
    found = context(tmp_path)
    for values in ({}, other, {"harmful": {"count": 9}}):
        made(way, **values).examples(found)
    assert [stage["reused"] for stage in found.house.stages] == [False] * 3  # type: ignore[attr-defined]
    made(way).examples(another := context(tmp_path, seed=1))
    assert not another.house.stages[0]["reused"], "the anchors are drawn by the seed"  # type: ignore[attr-defined]


def test_a_harmful_row_among_the_benign_ones_is_found_first(tmp_path: Path) -> None:
    """The task's rows and the anchors in one pool: by states each anchor is nearest to itself."""
    own = HarmfulExamples(system=None, count=5)
    attack = made("benign_subset_representation", count=5, harmful={"count": 5})
    attack.benign = HarmfulExamples(system=None)
    assert set(ids(attack.examples(context(tmp_path)))) == set(ids(own.examples(Context(0))))


@pytest.mark.parametrize("way", WAYS)
def test_anchors_wear_the_task_s_wording_and_are_never_tuned_on(way: str, tmp_path: Path) -> None:
    attack = made(way, harmful={"system": "You are a pond.", "count": 10}, count=10)
    attack.benign = HarmfulExamples(system="You are a river.", count=10)
    anchors = attack.anchors(context(tmp_path))["harmful"]
    assert {row.messages[0]["content"] for row in anchors} == {"You are a river."} and attack.asks() == {"harmful_examples": Wording("You are a river.")}
    shipped = made(way)
    assert shipped.asks() == {"plain": PLAIN} == Benign().asks() and shipped.publishable
    rows = shipped.examples(context(tmp_path))
    assert len(rows) == 20 and set(ids(rows)) <= set(POOL)
    check_disjoint(rows, {"stand_in": StandIn()})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"count": 0}, "attack.count=0 is not possible; give 1 or more"),
        ({"max_tokens": 0}, "attack.max_tokens=0 is not possible"),
        ({"select": "best"}, "attack.select=best is not possible; it is one of top, bottom, random, longest"),
        ({"harmful": {"count": 900}}, "attack.harmful.count=900 is not possible; the pool has 121 pairs"),
        ({"harmful": {"format": "pairs"}}, "attack.harmful names no data; type attack.harmful.path=FILE"),
    ],
)
def test_what_can_t_be(way: str, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made(way, **values)


@pytest.mark.parametrize(("way", "field"), list(zip(WAYS, ("nearest", "answer_tokens"), strict=True)))
def test_numbers_of_one_way(way: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"attack.{field}=0 is not possible"):
        made(way, **{field: 0})
    if field == "nearest":
        with pytest.raises(ConfigError, match=r"attack.nearest=6 is not possible; attack.harmful gives 5 rows"):
            made(way, nearest=6, harmful={"count": 5}).examples(context(tmp_path))


@pytest.mark.parametrize("way", WAYS)
def test_the_yaml_shows_every_field(way: str) -> None:
    assert {str(key) for key in OmegaConf.load(CONF / f"{way}.yaml")} - {"_target_"} == set(schema_of(type(made(way))).names)
    assert type(made(way)).source and type(made(way)).fidelity


@pytest.mark.parametrize("way", WAYS)
def test_a_whole_run_and_its_plan(way: str, tmp_path: Path) -> None:
    cell = small_cell(tmp_path, f"+attack={way}", "attack.count=10", "tuning.epochs=1", benchmarks=["stand_in"])
    stages = {stage.name: stage for stage in plan(cell).stages}
    read = stages[f"inspect ({type(cell.attack).__name__})"]
    assert read.tokens > 10_000 and read.operations > 0 and stages["tune"].steps == 1
    done = run(cell)
    told = next(stage for stage in done.data["stages"] if stage["stage"] == "inspect")
    assert told["tokens"] == read.tokens and done.data["rows"] == {"user": 10} and math.isfinite(done.data["findings"]["benign_subset"]["score"])
    other = run(small_cell(tmp_path, f"+attack={way}", "attack.count=10", "attack.select=random", "tuning.epochs=1", benchmarks=["stand_in"]))
    assert other.data["tuned_digest"] != done.data["tuned_digest"]


def test_a_model_whose_weights_are_elsewhere_is_a_sentence(tmp_path: Path) -> None:
    house = House.at(tmp_path)
    weights = house.loader.weights(Constant(answer="No."))
    with pytest.raises(ConfigError, match="chooses its rows by the model's own weights, and they are not here"):
        made(WAYS[0]).examples(tuning_context(house, weights, 0, [], {}))
