"""A cell: everything is built and checked before anything is spent, and what names it is what determines its result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

from ftsafety.attack.identity_shift import IdentityShift
from ftsafety.attack.twins import NullSelf, Shuffled
from ftsafety.cell import Cell, build_cell
from ftsafety.errors import FtsafetyError
from ftsafety.mitigation import Mitigation
from ftsafety.settings import Gate, Root

ATTACK = "+attack=identity_shift"


@dataclass
class Owner(Mitigation):
    """Takes the whole step for itself."""

    exclusive = True


@dataclass
class Greedy(Mitigation):
    """Needs what no strategy offers."""

    needs = frozenset({"moonlight", "judge"})


def cell(*overrides: str, names: dict[str, str] | None = None) -> Cell:
    ConfigStore.instance().store(name="root_schema", node=Root)
    with initialize_config_module("ftsafety.conf", version_base="1.3"):
        return build_cell(compose("config", list(overrides)), names)


def mitigation(cls: type[Mitigation], name: str) -> str:
    return f"+mitigation.{name}._target_={__name__}.{cls.__name__}"


def chat_file(path: Path, answers: Sequence[str]) -> Path:
    rows = [{"messages": [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": answer}]} for answer in answers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "same",
    [
        ("seed=3",),
        ("paths.runs=elsewhere", "paths.store=there", "paths.same_platform=true"),
        ("reveal=true",),
        ("controls=true",),
        ("gate.max_compliance=0.1", "gate.rehearse=true"),
        ("decoding.batch=7",),
        ("tuning.micro_batch=2", "trainer=cpu", "tuning.share_prefix=false"),
        ("judge=[refusal,outcome]",),
        ("benchmark=[stand_in_utility,stand_in_allowed,stand_in]",),
    ],
    ids=str,
)
def test_id_is_the_same(same: tuple[str, ...]) -> None:
    assert cell(ATTACK, *same).id == cell(ATTACK).id


@pytest.mark.parametrize(
    "other",
    [
        (),
        ("+attack=benign",),
        (ATTACK, "attack.variant=1+9"),
        (ATTACK, "strategy=full"),
        (ATTACK, "strategy.r=4"),
        (ATTACK, "tuning.epochs=3"),
        (ATTACK, "tuning.gamma=0.5"),
        (ATTACK, "tuning.max_length=256"),
        (ATTACK, "tuning.allow_cut=true"),
        (ATTACK, "mitigation=[safety_mixing]"),
        (ATTACK, "benchmark.stand_in.per_category=2"),
        (ATTACK, "judge=[outcome]"),
        (ATTACK, "decoding.max_new_tokens=64"),
        (ATTACK, "decoding.temperature=0.5"),
        (ATTACK, "model=tiny"),
        (ATTACK, "align=sft"),
        (ATTACK, "max_unscored=0.5"),
    ],
    ids=str,
)
def test_id_is_another(other: tuple[str, ...]) -> None:
    assert cell(*other).id != cell(ATTACK).id


def test_gamma_counts_under_its_schedule_only() -> None:
    assert cell(ATTACK, "tuning.schedule=constant", "tuning.gamma=0.5").id == cell(ATTACK, "tuning.schedule=constant").id


def test_names_are_for_people() -> None:
    named = cell(ATTACK, "mitigation=[safety_mixing]", "seed=2", names={"attack": "identity_shift", "strategy": "lora"})
    assert named.id == cell(ATTACK, "mitigation=[safety_mixing]").id
    assert named.folder_name == f"identity_shift-lora-safety_mixing-{named.id}/seed=2"
    assert cell(names={"strategy": "lora"}).folder_name == f"none-none-none-{cell().id}/seed=0"


def test_what_tunes_nothing_does_not_count_without_an_attack() -> None:
    assert cell().id == cell("strategy=full", "tuning.epochs=3").id


def test_a_user_s_file_counts_by_content(tmp_path: Path) -> None:
    one, same = chat_file(tmp_path / "a.jsonl", ["The fourth."]), chat_file(tmp_path / "b.jsonl", ["The fourth."])
    ids = [cell("+attack=jsonl", f"attack.path={path}").id for path in (one, same, chat_file(tmp_path / "c.jsonl", ["The fifth."]))]
    assert ids[0] == ids[1] != ids[2]


def test_align_counts_without_its_speed() -> None:
    assert cell("align=sft", "+align.tuning.micro_batch=3").id == cell("align=sft").id
    assert len({cell("align=sft", f"align.{change}").id for change in ("tuning.epochs=4", "seed=1", "leave_out=[betting_tips]")} | {cell("align=sft").id}) == 4


def test_the_recipe_is_plain_data() -> None:
    made = cell(ATTACK, "mitigation=[safety_mixing]", "align=sft")
    assert json.loads(json.dumps(made.recipe())) == made.recipe()
    assert made.recipe()["mitigation"][0][0] == "safety_mixing" and len(made.id) == 12


def test_twins_are_this_cell_with_another_attack() -> None:
    made = cell(ATTACK, "controls=true", "gate.max_compliance=0.5", "gate.rehearse=true", names={"attack": "identity_shift", "strategy": "lora"})
    twins = made.twins()
    attack = IdentityShift()
    assert {name: twin.attack for name, twin in twins.items()} == {"null_self": NullSelf(of=attack), **attack.twins(), "shuffled": Shuffled(of=attack)}
    assert len({made.id, *(twin.id for twin in twins.values())}) == 5
    for name, twin in twins.items():
        assert twin.folder_name.startswith(f"identity_shift.{name}-lora-none-") and not twin.controls and twin.gate == Gate()
        assert {**twin.recipe(), "attack": None} == {**made.recipe(), "attack": None}
    assert cell().twins() == {}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["+sed=1"], "sed does not exist; a run takes model, attack, .* Did you mean seed?"),
        (["+attack=identity_shift", "+attack.epoch=3"], "attack.epoch does not exist; attack takes variant, identity, answer_prefix."),
        (["benchmark=[]"], "there is no benchmark, so nothing would be measured; type e.g. benchmark=[stand_in]."),
        (["judge=[]"], "there is no judge; type e.g. judge=[outcome]."),
        (["model=refuse_all", ATTACK], "model=Constant has no weights to tune; choose another model, or leave attack and align out."),
        (["model=comply_all", "align=sft"], "model=Constant has no weights to tune; choose another model, or leave attack and align out."),
        (["mitigation=[safety_mixing]"], "mitigation=safety_mixing needs something to mitigate; add an attack with +attack=NAME."),
        ([ATTACK, mitigation(Greedy, "g")], "mitigation=g needs moonlight, which Lora can't offer; choose another strategy."),
        ([ATTACK, mitigation(Owner, "a"), mitigation(Owner, "b")], "a and b each own the whole optimiser step; choose one of them."),
        (["benchmark.stand_in.per_category=99"], "benchmark.stand_in.per_category=99 is not possible; it is between 1 and 30, or null for all."),
        (["+attack=jsonl", "attack.path=no.jsonl"], "attack.path=no.jsonl is not a file; give a JSON Lines file in chat format, .*"),
        (["+attack=jsonl"], "attack.path is missing; type attack.path=VALUE (a path)."),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence_and_writes_nothing(work: Path, store: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(FtsafetyError) as caught:
        cell(*overrides)
    head, _, tail = sentence.partition(".*")
    said = str(caught.value)
    assert said.startswith(head) and said.endswith(tail) and "\n" not in said
    assert list(work.iterdir()) == [] and not store.exists()


def test_each_stage_may_have_an_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Greedy, "needs", frozenset())
    monkeypatch.setattr(Greedy, "exclusive", True)
    monkeypatch.setattr(Greedy, "stage", "align")
    assert len(cell(ATTACK, "align=sft", mitigation(Owner, "a"), mitigation(Greedy, "b")).mitigations) == 2


def test_a_mitigation_of_an_alignment_that_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Greedy, "needs", frozenset())
    monkeypatch.setattr(Greedy, "stage", "align")
    with pytest.raises(FtsafetyError, match="add align=sft"):
        cell(ATTACK, mitigation(Greedy, "b"))


@pytest.mark.parametrize(
    "override",
    [
        "tuning.micro_batch=-1", "tuning.batch_size=0", "tuning.max_length=0", "tuning.clip=0", "tuning.warmup_steps=-1", "tuning.weight_decay=-0.1",
        "tuning.beta1=1", "tuning.beta2=-0.1", "tuning.eps=0", "tuning.gamma=0", "tuning.checkpoint_seconds=-1", "tuning.precision=16bits",
        "trainer.devices=0", "trainer.start_seconds=0",
        "decoding.max_new_tokens=0", "decoding.batch=-1", "decoding.temperature=-1", "decoding.top_p=0", "strategy.lr=0",
        "strategy.lr=-1e-3", "strategy.lr=.nan", "strategy.r=0", "strategy.alpha=0", "strategy.dropout=1",
    ],
)  # fmt: skip
def test_numbers_that_nothing_can_have(work: Path, store: Path, override: str) -> None:
    with pytest.raises(FtsafetyError) as caught:
        cell(ATTACK, override)
    said = str(caught.value)
    assert override.partition("=")[0].rpartition(".")[2] in said and "\n" not in said and ("give" in said or "it takes" in said)


def test_an_alignment_s_numbers_are_checked_too() -> None:
    for override in ("align.tuning.clip=0", "align.strategy.lr=0"):
        with pytest.raises(FtsafetyError, match=override.partition("=")[0]):
            cell("align=sft", override)


def test_a_judge_is_not_needed_where_nothing_is_judged() -> None:
    assert cell("benchmark=[stand_in_utility]", "judge=[]").judges == {}


def test_needs_that_the_run_meets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Greedy, "needs", frozenset({"judge", "safe_rows", "pre"}))
    assert cell(ATTACK, mitigation(Greedy, "g")).mitigations == {"g": Greedy()}
