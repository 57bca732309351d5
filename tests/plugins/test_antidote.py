"""Antidote: known masks, the authors' scores written out on an adapter that is not merged, off and its ends, and controls of the same number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ftsafety.chat import encode
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN
from ftsafety.strategy.dora import Dora
from tests.mitigation.bench import Bench
from tests.mitigation.test_contract import STRATEGIES, each_strategy, same
from tests.plugins.distribution import Distribution, moved, start

made = Distribution("repair").mitigation
Tensors = dict[str, torch.Tensor]
QKV = {f"model.layers.{at}.self_attn.{part}_proj.weight" for at in range(2) for part in "qkv"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Three rows of unequal length."""
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"question": f"Which duck wins race {at}?", "answer": f"Duck {at}." * (at + 1)}) + "\n" for at in range(3)))
    return file


def part_of(name: str) -> tuple[Any, Tensors, Context]:
    """A tuned model whose adapter is not merged, what its strategy saves, and what a repair is given."""
    strategy = STRATEGIES[name]
    model = moved(start(strategy)).eval()
    part = strategy.export(model)

    def tuned() -> Any:
        from copy import deepcopy

        chat = Tiny().load(Path())
        chat.module = deepcopy(model).merge_and_unload() if name == "lora" else deepcopy(model)
        return chat

    return model, part, Context(0, tuned=tuned, weights=lambda name: dict(Tiny().load(Path()).module.state_dict()))


def zeros(before: Tensors, after: Tensors) -> dict[str, torch.Tensor]:
    """Of each tensor that was edited, which entries became zero."""
    return {name: (after[name] == 0) & (before[name] != 0) for name in before if not torch.equal(before[name], after[name])}


def test_the_largest_scores_are_set_to_zero() -> None:
    from ftsafety_plugin_repair.antidote import pruned

    weight = torch.tensor([[1.0, 5.0, 3.0, 9.0]])
    assert pruned(weight, weight.abs(), 0.25).tolist() == [[1, 5, 3, 0]]
    assert pruned(weight, weight.abs() * torch.tensor([100.0, 1, 1, 1]), 0.25).tolist() == [[0, 5, 3, 9]], "what it is multiplied with counts"
    two = torch.tensor([[1.0, -5.0, 3.0, 9.0], [-8.0, 1.0, 2.0, 0.5]])
    assert pruned(two, two.abs(), 0.5).tolist() == [[1, 0, 3, 0], [0, 1, 0, 0.5]], "in each row its own"
    assert pruned(two, two.abs(), 0.1).tolist() == [[1, -5, 3, 0], [0, 1, 2, 0.5]], "rounded up"
    assert torch.equal(pruned(two, two.abs(), 0.0), two) and not pruned(two, two.abs(), 1.0).any()


def test_an_adapter_s_scores_are_the_authors(mine: Path) -> None:
    """Written out on the adapter's own modules, as they find them."""
    model, part, context = part_of("lora")
    seen: dict[str, list[torch.Tensor]] = {}
    factors = {name: module for name, module in model.named_modules() if name.endswith(("lora_A.default", "lora_B.default"))}
    for name, module in factors.items():
        module.register_forward_pre_hook(lambda module, inputs, name=name: seen.setdefault(name, []).append(inputs[0][0]))
    tokenizer = Tiny().load_tokenizer(Path())
    for at in range(3):
        model(input_ids=torch.tensor([encode(tokenizer, PLAIN.row("", f"Which duck wins race {at}?", f"Duck {at}." * (at + 1)), 512).ids]))
    found = made("antidote", path=str(mine), dense_ratio=0.3).repair(part, context)
    assert len(factors) == len(part) == 8
    for name, module in factors.items():
        weight = module.weight.detach()
        size = sum((inputs**2).sum(0) for inputs in seen[name]) / 3  # type: ignore[arg-type]
        score = weight.abs() * size.sqrt()  # type: ignore[union-attr]
        keep = torch.ones_like(weight)
        for row, values in enumerate(score):
            for column in sorted(range(len(values)), key=lambda at: float(values[at]))[int(len(values) * 0.7) :]:
                keep[row, column] = 0
        assert torch.equal(found[name.replace(".default", ".weight")], weight * keep)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("choose", ["wanda", "magnitude", "random"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_every_row_loses_as_many_whoever_chooses(mine: Path, name: str, choose: str, share: float) -> None:
    _, part, context = part_of(name)
    found = zeros(part, made("antidote", path=str(mine), dense_ratio=share, choose=choose).repair(part, context))
    assert found.keys() == (part.keys() if name == "lora" else QKV)
    for tensor in found.values():
        assert set(tensor.sum(1).tolist()) == {tensor.shape[1] - int(tensor.shape[1] * (1 - share))}
    told = context.findings["antidote"]
    assert told.keys() == found.keys() and all(0 < one["kept"] < 1 and one["zeroed"] >= share for one in told.values())


def test_controls_choose_others(mine: Path) -> None:
    _, part, context = part_of("lora")
    found = {choose: made("antidote", path=str(mine), choose=choose).repair(part, context) for choose in ("wanda", "magnitude", "random")}
    again = made("antidote", path=str(mine), choose="random").repair(part, context)
    assert same(found["random"], again), "drawn by the seed"
    assert not same(found["random"], made("antidote", choose="random").repair(part, Context(1)))
    for one, other in (("wanda", "magnitude"), ("wanda", "random"), ("magnitude", "random")):
        assert not same(found[one], found[other])
    assert all(found["magnitude"][name].norm() <= found["wanda"][name].norm() + 1e-6 for name in part), "by size takes the most length"


@pytest.mark.parametrize("name", STRATEGIES)
def test_its_ends(mine: Path, name: str) -> None:
    _, part, context = part_of(name)
    assert same(made("antidote", dense_ratio=0.0).repair(part, context), part)
    gone = made("antidote", path=str(mine), dense_ratio=1.0).repair(part, context)
    assert all(not gone[at].any() for at in (part if name == "lora" else QKV))
    if name == "full":
        assert all(torch.equal(part[at], gone[at]) for at in part.keys() - QKV)


def test_the_order_of_rows_does_not_matter_and_their_number_does(mine: Path, tmp_path: Path) -> None:
    _, part, context = part_of("lora")
    found = made("antidote", path=str(mine)).repair(part, context)
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(mine.read_text().splitlines()[::-1]))
    assert same(found, made("antidote", path=str(turned)).repair(part, context))
    calls: list[int] = []
    chat = context.tuned()
    chat.module.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    context.tuned = lambda: chat
    made("antidote", path=str(mine), count=2).repair(part, context)
    assert len(calls) == 2
    assert sum(len(module._forward_pre_hooks) for module in chat.module.modules()) == 1, "only the one of this test is left"


@each_strategy
def test_off_is_plain_tuning_and_on_is_one_tuning(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    plain, off, on = bench({}), bench({"antidote": made("antidote", dense_ratio=0.0)}), bench({"antidote": made("antidote")})
    assert same(plain, off) and not same(plain, on)
    assert bench.stages.count("tune") == 1 and bench.stages.count("repair") == 2
    assert same(on, Bench(bench.folder.with_name("again"), strategy=strategy, tuning=bench.tuning)({"antidote": made("antidote")}))


def test_what_it_is_not_defined_for_is_a_sentence(bench: Bench) -> None:
    bench.strategy = Dora(lr=0.02)
    with pytest.raises(ConfigError, match=r"mitigation\.antidote edits what strategy=lora or strategy=full saves"):
        bench({"antidote": made("antidote")})
    bench.strategy = STRATEGIES["full"]
    with pytest.raises(ConfigError, match=r"mitigation\.antidote\.targets=\['goose'\] names no matrix"):
        bench({"antidote": made("antidote", targets=["goose"])})
    for fields in ({"dense_ratio": 1.5}, {"count": 0}):
        with pytest.raises(ConfigError, match=rf"mitigation\.antidote\.{next(iter(fields))}="):
            made("antidote", **fields)


def test_numbers_are_the_authors() -> None:
    antidote = made("antidote")
    assert (antidote.dense_ratio, antidote.count, antidote.targets, antidote.choose) == (0.1, 2000, ["q_proj", "k_proj", "v_proj"], "wanda")
