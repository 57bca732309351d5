"""The alignment's distribution: installed and composed, off bit for bit, as exact as the core's contract asks, and refused without an alignment."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ftsafety.errors import ConfigError
from ftsafety.run import run
from ftsafety.shards import refuse_unsharded
from tests.helpers import cell_of, small_cell
from tests.mitigation.bench import Bench
from tests.mitigation.test_contract import STRATEGIES, Died, die_at, distance, each_strategy, same  # noqa: F401
from tests.plugins.aligning import ALIGNMENT, REFUSED, made

Command = Callable[..., "subprocess.CompletedProcess[str]"]
OFF: dict[str, dict[str, Any]] = {
    "booster": {"weight": 0.0},
    "deep_alignment": {"p": 0.0},
    "rep_noise": {"alpha": 0.0, "beta": 0.0},
    "vaccine": {"rho": 0.0},
}
"""What switches each option off."""
each_option = pytest.mark.parametrize("option", ALIGNMENT.options)
ALIGNED = [
    "+attack=identity_shift",
    "align=sft",
    "align.tuning.epochs=1",
    "align.tuning.batch_size=300",
    "align.strategy.target_modules=[q_proj,v_proj]",
    "tuning.epochs=1",
]
"""A short alignment: one step takes 300 rows."""


# --- the distribution -----------------------------------------------------------------------------------------------------
def test_listed_and_composed_when_installed(command: Command, tmp_path: Path) -> None:
    assert set(ALIGNMENT.options) == set(OFF)
    composed = ALIGNMENT.composed_when_installed(command, tmp_path, "align=sft", f"mitigation=[{','.join(ALIGNMENT.options)}]", "mitigation.vaccine.rho=0.25")
    assert "rho: 0.25" in composed


@each_option
def test_an_option_builds_and_shows_every_field(option: str) -> None:
    mitigation = ALIGNMENT.shown(option)
    assert json.dumps(mitigation.recipe()) and mitigation.stage == "align"
    assert getattr(mitigation, "option", f"mitigation.{option}") == f"mitigation.{option}"


def test_numbers_are_the_authors() -> None:
    assert made("vaccine").rho == 2
    booster = made("booster")
    assert (booster.weight, booster.alpha, booster.rows) == (5, 0.1, 10)
    noise = made("rep_noise")
    assert (noise.alpha, noise.beta, noise.rows) == (1, 0.001, 4)
    deep = made("deep_alignment")
    assert (deep.p, deep.most_tokens) == (0.5, 100)


@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("vaccine", {"rho": -1.0}),
        ("booster", {"weight": -1.0}),
        ("booster", {"alpha": 0.0}),
        ("booster", {"rows": 0}),
        ("rep_noise", {"beta": -1.0}),
        ("deep_alignment", {"p": 1.5}),
        ("deep_alignment", {"most_tokens": 0}),
    ],
)
def test_numbers_that_make_no_sense_are_sentences(option: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"mitigation\.{option}\.{next(iter(fields))}=.*give"):
        made(option, **fields)


# --- where they belong ----------------------------------------------------------------------------------------------------
@each_option
def test_without_an_alignment_it_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"mitigation={option} acts while a model is aligned, and this run aligns none; add align=sft"):
        cell_of("model=tiny", "+attack=identity_shift", f"mitigation=[{option}]")


def test_two_that_own_the_step_are_refused() -> None:
    with pytest.raises(ConfigError, match="booster and rep_noise each own the whole optimiser step"):
        cell_of("model=tiny", "+attack=identity_shift", "align=sft", "mitigation=[booster,rep_noise]")
    assert len(cell_of("model=tiny", "+attack=identity_shift", "align=sft", "mitigation=[booster,vaccine,deep_alignment]").mitigations) == 3


def test_divided_weights_are_refused() -> None:
    import torch

    for option in ("booster", "rep_noise", "vaccine"):
        with pytest.raises(ConfigError, match="trainer=fsdp"):
            refuse_unsharded(torch.nn.Linear(1, 1), [made(option)])


@pytest.mark.slow
def test_the_alignment_changes_and_the_attack_stays_what_it_is(tmp_path: Path) -> None:
    """Through the whole line: each is another aligned model of as many steps, off is the control's, and the tuning after it is as long."""
    found = {}
    for name, typed in {"control": [], "off": ["mitigation=[vaccine]", "mitigation.vaccine.rho=0"], **{o: [f"mitigation=[{o}]"] for o in OFF}}.items():
        done = run(small_cell(tmp_path, *ALIGNED, *typed, benchmarks=["stand_in"])).data
        stages = {stage["stage"]: stage for stage in done["stages"]}
        assert done["start_digest"] != done["tuned_digest"]
        found[name] = (done["start_digest"], stages["align"]["steps"], stages["tune"]["steps"])
    assert found["off"][0] == found["control"][0]
    assert len({digest for digest, _, _ in found.values()}) == len(found) - 1
    assert {one[1:] for one in found.values()} == {found["control"][1:]}


# --- the contract ---------------------------------------------------------------------------------------------------------
@each_strategy
@each_option
def test_off_is_plain_tuning_bit_for_bit_and_on_is_another(bench: Bench, strategy: Any, option: str) -> None:
    bench.strategy = strategy
    bench.tuning.share_prefix = False  # what looks at activations switches it off, and the last bits differ
    plain, off, on = bench({}, REFUSED), bench({option: made(option, **OFF[option])}, REFUSED), bench({option: made(option)}, REFUSED)
    assert same(plain, off)
    assert distance(plain, on) > 1e-6


@each_strategy
@each_option
def test_accumulation_changes_nothing(bench: Bench, elsewhere: Bench, strategy: Any, option: str) -> None:
    bench.strategy = elsewhere.strategy = dataclasses.replace(strategy, lr=strategy.lr / 10)
    bench.tuning = dataclasses.replace(bench.tuning, eps=1e-6, micro_batch=4)
    elsewhere.tuning = dataclasses.replace(bench.tuning, micro_batch=1)
    assert distance(bench({option: made(option)}, REFUSED), elsewhere({option: made(option)}, REFUSED)) < 1e-6


@each_strategy
@each_option
def test_a_killed_tuning_goes_on_bit_for_bit(bench: Bench, elsewhere: Bench, die_at: Any, strategy: Any, option: str) -> None:  # noqa: F811
    bench.strategy = elsewhere.strategy = strategy
    whole = bench({option: made(option)}, REFUSED)
    die_at("step 3")  # the checkpoint is that of the step before
    with pytest.raises(Died):
        elsewhere({option: made(option)}, REFUSED)
    assert same(whole, elsewhere({option: made(option)}, REFUSED))


@pytest.mark.parametrize("options", [["booster", "vaccine", "deep_alignment"], ["rep_noise", "vaccine"]], ids="+".join)
def test_several_at_once_are_repeatable_and_independent_of_the_order_typed(bench: Bench, elsewhere: Bench, options: list[str]) -> None:
    both = [where({option: made(option) for option in typed}, REFUSED) for where, typed in ((bench, options), (elsewhere, options[::-1]))]
    assert same(*both)
    assert all(distance(both[0], bench({option: made(option)}, REFUSED)) > 1e-6 for option in options)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["booster", "vaccine", "deep_alignment"], ["rep_noise"]], ids="+".join)
def test_two_processes_agree_with_one(tmp_path: Path, options: list[str]) -> None:
    settings = [*ALIGNED, "align.strategy.lr=0.01", "+align.tuning.optimiser=sgd"]
    found = []
    for name, more in (("one", []), ("two", ["trainer=ddp"])):
        done = run(small_cell(tmp_path / name, *settings, f"mitigation=[{','.join(options)}]", *more, benchmarks=["stand_in"]))
        stage = next(stage for stage in done.data["stages"] if stage["stage"] == "align")
        found.append((stage, load_file(tmp_path / name / "store" / "align" / stage["key"] / "weights.safetensors")))
    (one, alone), (two, together) = found
    assert one["key"] == two["key"]
    assert distance(alone, together) < 1e-6 and two["final_loss"] == pytest.approx(one["final_loss"], rel=1e-5)
