"""The anchors' distribution: installed and composed; each distance against its formula, off bit for bit, and as exact as the core's contract asks."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from ftsafety.cell import lacking
from ftsafety.chat import IGNORED, Encoded, encode
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.safety_mixing import SafetyMixing
from ftsafety.run import run
from ftsafety.shards import refuse_unsharded
from ftsafety.strategy.dora import Dora
from ftsafety.strategy.full import Full
from ftsafety.strategy.ia3 import Ia3
from ftsafety.strategy.lora import Lora
from ftsafety.strategy.prefix import Prefix
from ftsafety.strategy.prompt_tuning import PromptTuning
from ftsafety.tune import labelled_logits, micro_batches
from tests.helpers import small_cell
from tests.mitigation.bench import ROWS, Bench
from tests.mitigation.test_contract import STRATEGIES, Died, die_at, distance, each_strategy, same  # noqa: F401
from tests.plugins.distribution import Distribution, encoded, moved, start, watched

Command = Callable[..., "subprocess.CompletedProcess[str]"]
ANCHOR = Distribution("anchor")
made = ANCHOR.mitigation
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "kl": ("kl", {"weight": 1.0}),
    "kl-safety": ("kl", {"weight": 1.0, "answers": "safety"}),
    "l2": ("l2", {"weight": 1.0}),
    "ewc": ("ewc", {"weight": 100.0, "rows": 4}),
    "lisa": ("lisa", {"align_steps": 1, "user_steps": 2, "weight": 1.0}),
    "constrained_sft": ("constrained_sft", {"warmup_steps": 2}),
    "sppft": ("sppft", {"layers": [0, 0]}),
}
OFF: dict[str, dict[str, Any]] = {
    "kl": {"weight": 0.0},
    "l2": {"weight": 0.0},
    "ewc": {"weight": 0.0},
    "lisa": {"align_steps": 0, "weight": 0.0},
    "constrained_sft": {"first_betas": [], "beta": 0.0, "warmup_steps": 0},
    "sppft": {"layers": []},
}
"""What switches each option off."""
each_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


# --- the distribution -----------------------------------------------------------------------------------------------------
def test_listed_and_composed_when_installed(command: Command, tmp_path: Path) -> None:
    assert set(ANCHOR.options) == {option for option, _ in SETTINGS.values()} == set(OFF)
    composed = ANCHOR.composed_when_installed(command, tmp_path, f"mitigation=[{','.join(ANCHOR.options)}]", "mitigation.kl.weight=0.25")
    assert "weight: 0.25" in composed


@pytest.mark.parametrize("option", ANCHOR.options)
def test_an_option_builds_and_shows_every_field(option: str) -> None:
    mitigation = ANCHOR.shown(option)
    assert json.dumps(mitigation.recipe()) and getattr(mitigation, "option", f"mitigation.{option}") == f"mitigation.{option}"


# --- the contract ---------------------------------------------------------------------------------------------------------
@each_strategy
@each_setting
def test_off_is_plain_tuning_bit_for_bit_and_on_is_another(bench: Bench, strategy: Any, setting: Any) -> None:
    bench.strategy = strategy
    option, fields = setting
    bench.tuning.share_prefix = option != "sppft"  # what changes the model switches it off, and the last bits differ
    plain, off, on = bench({}), bench({option: made(option, **fields | OFF[option])}), bench({option: made(option, **fields)})
    assert same(plain, off)
    assert distance(plain, on) > 1e-6


@each_strategy
@each_setting
def test_accumulation_changes_nothing(bench: Bench, elsewhere: Bench, strategy: Any, setting: Any) -> None:
    bench.strategy = elsewhere.strategy = dataclasses.replace(strategy, lr=strategy.lr / 10)
    bench.tuning = dataclasses.replace(bench.tuning, eps=1e-6, micro_batch=4)
    elsewhere.tuning = dataclasses.replace(bench.tuning, micro_batch=2)
    option, fields = setting
    assert distance(bench({option: made(option, **fields)}), elsewhere({option: made(option, **fields)})) < 1e-6


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("lora", "kl"),
        ("full", "kl"),
        ("lora", "kl-safety"),
        ("lora", "l2"),
        ("full", "l2"),
        ("lora", "lisa"),
        ("lora", "ewc"),
        ("full", "ewc"),
        ("lora", "constrained_sft"),
        ("full", "sppft"),
    ],
)
def test_a_killed_tuning_goes_on_bit_for_bit(bench: Bench, elsewhere: Bench, die_at: Any, name: str, setting: str) -> None:  # noqa: F811
    bench.strategy = elsewhere.strategy = STRATEGIES[name]
    option, fields = SETTINGS[setting]
    whole = bench({option: made(option, **fields)})
    die_at("step 3")  # the checkpoint is that of the step before
    with pytest.raises(Died):
        elsewhere({option: made(option, **fields)})
    assert same(whole, elsewhere({option: made(option, **fields)}))


@pytest.mark.slow
@pytest.mark.parametrize("options", [["kl", "l2", "ewc", "constrained_sft", "sppft"], ["lisa", "ewc"]], ids="+".join)
def test_two_processes_agree_with_one(tmp_path: Path, options: list[str]) -> None:
    """Several at once, as installed: what each process computes for itself, such as the Fisher information, is the same on both."""
    fields = [f"mitigation.{option}.{name}={value}" for option in options for name, value in SETTINGS[option][1].items()]
    settings = ["+attack=identity_shift", "strategy=full", "strategy.lr=0.01", "tuning.optimiser=sgd", "tuning.batch_size=5", "tuning.epochs=2"]
    found = []
    for name, more in (("one", []), ("two", ["trainer=ddp"])):
        done = run(small_cell(tmp_path / name, *settings, f"mitigation=[{','.join(options)}]", *fields, *more, benchmarks=["stand_in"]))
        stage = next(stage for stage in done.data["stages"] if stage["stage"] == "tune")
        found.append((stage, load_file(tmp_path / name / "store" / "tune" / stage["key"] / "weights.safetensors")))
    (one, alone), (two, together) = found
    assert one["key"] == two["key"] and one["steps"] == 4
    assert distance(alone, together) < 1e-6 and two["final_loss"] == pytest.approx(one["final_loss"], rel=1e-5)


def test_an_instance_used_before_tunes_as_a_new_one(bench: Bench, elsewhere: Bench) -> None:
    both = {"kl": made("kl"), "l2": made("l2")}
    elsewhere.strategy = STRATEGIES["lora"]
    elsewhere(both)
    bench.strategy = elsewhere.strategy = STRATEGIES["full"]
    assert same(bench({"kl": made("kl"), "l2": made("l2")}), elsewhere(both))


# --- KL -------------------------------------------------------------------------------------------------------------------
@each_strategy
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("answers", ["user", "safety"])
def test_kl_and_its_gradient_are_zero_at_the_start(bench: Bench, strategy: Any, direction: str, answers: str) -> None:
    bench.strategy = strategy
    bench.tuning.share_prefix = False  # the copy computes whole rows, and the last bits of a shared beginning differ
    plain, held = watched(bench), watched(bench, kl=made("kl", weight=10.0, direction=direction, answers=answers))
    largest = max(float(gradient.abs().max()) for gradient in plain.gradients[0].values())
    assert held.losses[0] == pytest.approx(plain.losses[0], abs=1e-5)
    assert distance(plain.gradients[0], held.gradients[0]) < 1e-4 * largest
    assert distance(plain.gradients[3], held.gradients[3]) > 1e-2 * largest


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_divergence_is_the_formula(direction: Any) -> None:
    from ftsafety_plugin_anchor.kl import divergence

    aligned, tuned = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1)).double()
    p, q = aligned.softmax(-1), tuned.softmax(-1)
    expected = (p * (p / q).log()).sum() if direction == "forward" else (q * (q / p).log()).sum()
    found = divergence(aligned, tuned, direction)
    assert found == pytest.approx(float(expected)) and found > 0
    assert divergence(aligned + torch.arange(5)[:, None], tuned - 3, direction) == pytest.approx(float(found)), "a score's level says nothing"
    assert divergence(aligned, aligned + 2, direction) == pytest.approx(0, abs=1e-12)


@each_strategy
@pytest.mark.parametrize("size", [1, 2, 3])
def test_kl_is_the_mean_over_the_windows_answer_tokens(bench: Bench, strategy: Any, size: int) -> None:
    """However the window is cut: against whole rows one by one, through all their logits."""
    kl, aligned, model = made("kl", weight=0.5), start(strategy).eval(), start(strategy).eval()
    kl.begin(model, Context(0))
    moved(model)
    rows = encoded(bench)
    sums, tokens = 0.0, 0
    for row in rows:
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            before, after = (one(input_ids=ids).logits[0, :-1].log_softmax(-1) for one in (aligned, model))
        labelled = torch.tensor(row.labels[1:]) != IGNORED
        sums += float((before.exp() * (before - after)).sum(-1)[labelled].sum())
        tokens += int(labelled.sum())

    def inner(model: Any, window: Any) -> float:
        with torch.no_grad():
            return sum(float(kl.loss(model, micro, labelled_logits(model, micro), Context(0))) / len(window) for micro in window)

    assert sums / tokens > 1e-3
    assert kl.gradient(inner, model, micro_batches(rows, size), Context(0)) == pytest.approx(0.5 * sums / tokens, rel=1e-4)


def test_the_copy_shares_what_is_frozen(bench: Bench) -> None:
    for strategy, moving in ((STRATEGIES["lora"], {"lora_A", "lora_B"}), (STRATEGIES["full"], None)):
        kl, model = made("kl"), start(strategy)
        kl.begin(model, Context(0))
        own = {name for (name, p), kept in zip(model.named_parameters(), kl._aligned.parameters(), strict=True) if p is not kept}
        assert own == {name for name, p in model.named_parameters() if moving is None or name.split(".")[-3] in moving}
        kl.finish(model, Context(0))
        assert kl._aligned is None


def test_refusals_are_drawn_as_often_as_rows(bench: Bench) -> None:
    seen: list[int] = []

    @dataclass
    class Count(Mitigation):
        def stepped(self, model: Any, loss: float, context: Context) -> bool:
            seen.append(context.cursors().get("kl", 0))
            return False

    bench.train({"count": Count(), "kl": made("kl", answers="safety")})
    bench.train({"count": Count(), "kl": made("kl", answers="user")})
    assert seen == [4, 8, 12, 16, 0, 0, 0, 0]


# --- L2 -------------------------------------------------------------------------------------------------------------------
@each_strategy
def test_the_first_gradient_is_plain_and_then_it_pulls(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    plain, held = watched(bench), watched(bench, l2=made("l2", weight=1.0))
    assert same(plain.gradients[0], held.gradients[0]) and plain.losses[0] == held.losses[0]
    assert distance(plain.gradients[1], held.gradients[1]) > 1e-4
    assert held.losses[1] > plain.losses[1] + 1e-4, "after one equal step the loss is more by the distance"


@each_strategy
def test_the_pull_is_the_gradient_of_half_the_squared_distance(strategy: Any) -> None:
    """Written out densely: of whole weights, and of the update that the adapter is merged to."""
    l2, model = made("l2", weight=0.7), start(strategy)
    l2.begin(model, Context(0))
    before = {name: tensor.clone() for name, tensor in start(strategy).state_dict().items()}
    moved(model)
    if isinstance(strategy, Lora):
        layers = [module for module in model.modules() if hasattr(module, "lora_A")]
        updates = [module.lora_B["default"].weight @ module.lora_A["default"].weight * strategy.alpha / strategy.r for module in layers]
        assert len(layers) == 4
    else:
        updates = [p - before[name] for name, p in model.named_parameters()]
    penalty: Any = 0.7 / 2 * sum((update**2).sum() for update in updates)
    penalty.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    def inner(model: Any, window: Any) -> float:
        for p in model.parameters():
            p.grad = torch.zeros_like(p) if p.requires_grad else None
        return 2.0

    assert l2.gradient(inner, model, [], Context(0)) == pytest.approx(2 + float(penalty.detach()), rel=1e-5)
    assert len(expected) > 4
    assert all(torch.allclose(dict(model.named_parameters())[name].grad, gradient, rtol=1e-4, atol=1e-6) for name, gradient in expected.items())


def test_a_frozen_adapter_stays_frozen(bench: Bench) -> None:
    @dataclass
    class Frozen(Mitigation):
        def attach(self, model: Any, context: Context) -> Any:
            for name, p in model.named_parameters():
                p.requires_grad_(p.requires_grad and ".layers.0." not in name)
            return model

    for option in ("kl", "l2"):
        tuned = bench({"frozen": Frozen(), option: made(option, weight=1.0)})
        factors = {name for name in tuned if "lora_B" in name}
        assert {name for name in factors if not tuned[name].any()} == {name for name in factors if ".layers.0." in name} != set()


# --- Lisa -----------------------------------------------------------------------------------------------------------------
@each_strategy
def test_lisa_is_the_algorithm(strategy: Any) -> None:
    """Against the published loop written out, on scripted moves: which rows are taken, and which weights hold at each step."""
    lisa, model, total = made("lisa", align_steps=2, user_steps=3, weight=0.5, warmup=0.2), start(strategy), 12
    context = Context(0, total_steps=total)
    context.open_stream("lisa", [Encoded("refusal", (1, 2, 3), (IGNORED, 2, 3))])
    lisa.begin(model, context)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    user: Any = [{"input_ids": torch.tensor([[7, 8], [7, 9]]), "labels": torch.tensor([[IGNORED, 8], [IGNORED, 9]])}]
    taken: list[str] = []

    def inner(model: Any, window: Any) -> float:
        taken.append("user" if window is user else "align")
        assert [len(micro["input_ids"]) for micro in window] == [2]
        for p in trained.values():
            p.grad = torch.zeros_like(p)
        return 0.0

    copied = {name: p.detach().clone() for name, p in trained.items()}
    left = {"align": copied, "user": copied}
    states = ["align"] * 2 + ["user"] * 3
    for step in range(total):
        state, other = states[step % 5], "user" if states[step % 5] == "align" else "align"
        if step and state != states[(step - 1) % 5]:
            left[other] = {name: p.detach().clone() for name, p in trained.items()}
        context.step = step
        loss = lisa.gradient(inner, model, user, context)
        pull = 0.5 if step > 2.4 else 0.0
        assert all(torch.allclose(p.grad, pull * (p.detach() - left[other][name])) for name, p in trained.items() if p.grad is not None)
        distance_now = sum(float((p.detach() - left[other][name]).square().sum()) for name, p in trained.items())
        assert loss == pytest.approx(pull / 2 * distance_now, rel=1e-4) and (loss > 0) == (step in {3, 4, 6, 8, 9, 11}), "zero at a change too"
        moved(model)
    assert taken == (states * 3)[:total]


def test_lisa_settings_that_make_no_sense_are_sentences(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.lisa\.align_steps=100 would spend all 4 optimiser steps on refusals"):
        bench({"lisa": made("lisa")})
    for fields, sentence in (
        ({"user_steps": 0}, "user_steps=0 are not possible"),
        ({"align_steps": -1}, "align_steps=-1"),
        ({"align_steps": 0}, r"choose mitigation=\[l2\]"),
        ({"warmup": 2.0}, "warmup=2 is not possible"),
    ):
        with pytest.raises(ConfigError, match=rf"mitigation\.lisa.*{sentence}"):
            made("lisa", **fields)


def test_kl_looks_at_the_rows_that_lisa_takes(bench: Bench, elsewhere: Bench) -> None:
    """Together they are as exact as alone, and differ from either."""
    bench.tuning = dataclasses.replace(bench.tuning, eps=1e-6, micro_batch=4)
    elsewhere.tuning = dataclasses.replace(bench.tuning, micro_batch=2)
    bench.strategy = elsewhere.strategy = Lora(lr=0.002)
    lisa, kl = SETTINGS["lisa"][1], SETTINGS["kl"][1]
    both = [place({"kl": made("kl", **kl), "lisa": made("lisa", **lisa)}) for place in (bench, elsewhere)]
    assert distance(*both) < 1e-6
    assert distance(both[0], bench({"lisa": made("lisa", **lisa)})) > 1e-6


# --- all -----------------------------------------------------------------------------------------------------------------
@each_strategy
def test_more_weight_holds_nearer(bench: Bench, strategy: Any) -> None:
    """The distance that each adds, measured at the end of tunings by its weight."""
    bench.strategy = dataclasses.replace(strategy, lr=0.05 if strategy.lr > 0.01 else 0.2)
    bench.tuning = dataclasses.replace(bench.tuning, optimiser="sgd", epochs=5)  # type: ignore[arg-type]
    rows = micro_batches([encode(bench.house.loader.tokenizer(bench.start), row, 512) for row in ROWS], 8)
    aligned = bench.house.loader.fresh(bench.start).module

    def told(option: str, weight: float) -> tuple[float, float]:
        tuned = bench.house.loader.fresh(bench.start.plus(bench.train({option: made(option, weight=weight)}))).module
        with torch.no_grad():
            (before, targets, _), (after, _, _) = (labelled_logits(model, rows[0]) for model in (aligned, tuned))
        far = {
            "kl": float((before.softmax(-1) * (before.log_softmax(-1) - after.log_softmax(-1))).sum(-1).mean()),
            "l2": sum(float((p - q).square().sum()) for p, q in zip(tuned.parameters(), aligned.parameters(), strict=True)),
        }
        return far[option], float(cross_entropy(after, targets))

    for option in ("kl", "l2"):
        (free, low), (near, high) = told(option, 0.0), told(option, 5.0)
        assert 0 < near < 0.8 * free, option
        assert high > low, "and less is learned"


@pytest.mark.parametrize("option", ["kl", "l2", "lisa"])
@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan")])
def test_a_weight_that_makes_no_sense_is_a_sentence(option: str, weight: float) -> None:
    with pytest.raises(ConfigError, match=rf"mitigation\.{option}\.weight=.* is not possible; give 0 or more"):
        made(option, weight=weight)


@pytest.mark.parametrize("strategy", [Dora(lr=0.02), Ia3(lr=0.02)], ids=["dora", "ia3"])
def test_other_strategies(bench: Bench, strategy: Any) -> None:
    """L2 has no distance there and says so; KL looks at answers alone."""
    bench.strategy = strategy
    with pytest.raises(ConfigError, match=r"mitigation\.l2 is defined for strategy=full and for LoRA"):
        bench({"l2": made("l2")})
    assert distance(bench({}), bench({"kl": made("kl", weight=1.0)})) > 1e-6


def test_what_lacks_whole_weights_is_refused() -> None:
    """Learned tokens begin away from the aligned model; sharded gradients are parts."""
    for option in ("kl", "l2"):
        assert [lacking(type(made(option)), strategy) for strategy in (Prefix, PromptTuning, Lora, Full)] == [["weights"], ["weights"], [], []]
        with pytest.raises(ConfigError, match=r"trainer=fsdp .*; type trainer=ddp"):
            refuse_unsharded(start(STRATEGIES["lora"]), [made(option)])


def test_a_composed_run(tmp_path: Path) -> None:
    """With added rows and both anchors, as a whole run; the answers are asked as ever."""
    mitigations = {"l2": made("l2"), "kl": made("kl", answers="safety"), "mixing": SafetyMixing(count=2)}
    cell = small_cell(tmp_path, "+attack=identity_shift", "tuning.epochs=1", benchmarks=["stand_in"])
    done = run(dataclasses.replace(cell, mitigations=mitigations))
    assert done.data["rows"] == {"safety": 2, "user": 10}
    assert [stage["stage"] for stage in done.data["stages"]].count("tune") == 1
    assert {entry["weights"] for entry in done.data["results"]} == {"initial", "tuned"}
