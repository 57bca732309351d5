"""The repairs' distribution: installed and composed; each edit against its formula, its off-switch bit for bit, and a composed run on the tiny model."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from ftsafety.build import build, schema_of
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.mitigation import Mitigation, in_order
from ftsafety.mitigation.safety_mixing import SafetyMixing
from ftsafety.model.constant import Constant
from ftsafety.model.tiny import Tiny
from ftsafety.run import run
from ftsafety.settings import Tuning
from ftsafety.stages import repair
from ftsafety.strategy.dora import Dora
from ftsafety.strategy.full import Full
from ftsafety.strategy.lora import Lora
from ftsafety.strategy.prefix import Prefix
from tests.helpers import small_cell
from tests.mitigation.bench import Bench, tensors
from tests.plugins.test_example_plugin import install

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Tensors = dict[str, torch.Tensor]
PLUGIN = Path(__file__).resolve().parents[2] / "plugins" / "ftsafety-plugin-repair"
OPTIONS = sorted((PLUGIN / "ftsafety_plugin_repair" / "conf").glob("*/*.yaml"))
RAW = {"_target_": "ftsafety.model.tiny.Tiny", "init_seed": 1}
SETTINGS: dict[str, dict[str, Any]] = {"safe_lora": {"raw": RAW}, "chat_vector": {"raw": RAW}, "resta": {"unaligned": RAW}, "wise_ft": {}, "antidote": {}}
"""What each option is told here: a random model stands for the other model of a pair."""
STRATEGIES = {"lora": Lora(lr=0.02), "full": Full(lr=0.002)}
PREFIX, SCALE = "base_model.model.", 32 / 8
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)


@pytest.fixture(scope="module", autouse=True)
def importable() -> Any:
    """The package from the checkout, whether it is installed or not."""
    sys.path.insert(0, str(PLUGIN))
    yield
    sys.path.remove(str(PLUGIN))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "store", tuning=Tuning(batch_size=4, epochs=1))


def made(option: str, **fields: Any) -> Any:
    """An option as its YAML says, with what this file tells it and a test on top."""
    node = OmegaConf.load(PLUGIN / "ftsafety_plugin_repair" / "conf" / "mitigation" / f"{option}.yaml")
    mitigation = build(OmegaConf.merge(node, SETTINGS[option], fields), Mitigation, f"mitigation.{option}")
    mitigation.check({})
    return mitigation


def own(option: str, **fields: Any) -> Any:
    """An option that takes the never-aligned weights from the run."""
    return dataclasses.replace(made(option, **fields), raw=None)


@cache
def loaded(init_seed: int) -> Tensors:
    return dict(Tiny(init_seed=init_seed).load(Path()).module.state_dict())


def weights(init_seed: int = 0) -> Tensors:
    return dict(loaded(init_seed))


def given(pre: Tensors | None = None) -> Context:
    """What a repair is given: the start model is the first random one, the never-aligned model the second."""
    return Context(0, weights=lambda name: dict(weights() if name == "al" else pre or weights(1)))


def adapter(rank: int = 2) -> Tensors:
    """Random factors on each attention projection of the tiny model; no two layers have an update of the same length."""
    generator, out = torch.Generator().manual_seed(7), {}
    for layer, tensor in weights().items():
        if layer.endswith("_proj.weight") and "self_attn" in layer:
            stem = PREFIX + layer.removesuffix("weight")
            out[f"{stem}lora_A.weight"] = torch.randn(rank, tensor.shape[1], generator=generator)
            out[f"{stem}lora_B.weight"] = torch.randn(tensor.shape[0], rank, generator=generator) * (0.01 + 0.01 * len(out))
    return out


def merged(part: Tensors) -> Tensors:
    """The start weights with an adapter's updates, scaled as strategy=lora scales them."""
    out = weights()
    for name in part:
        if name.endswith("lora_B.weight"):
            layer = name.removeprefix(PREFIX).replace("lora_B.", "")
            out[layer] = out[layer] + SCALE * part[name] @ part[name.replace("lora_B", "lora_A")]
    return out


def same(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def changed(a: Tensors, b: Tensors) -> set[str]:
    return {name.removeprefix(PREFIX) for name in a if not torch.equal(a[name], b[name])}


def whole(bench: Bench, mitigations: dict[str, Mitigation]) -> Tensors:
    """The weights of the model at the end of tuning and repair, whatever was saved of them."""
    tuned = bench.start.plus(bench.train(mitigations))
    end = repair(bench.house, tuned, in_order(mitigations), bench.context(mitigations))
    return dict(bench.house.loader.fresh(end).module.state_dict())


# --- the distribution -----------------------------------------------------------------------------------------------------
def test_listed_and_composed_when_installed(command: Command, tmp_path: Path) -> None:
    site = install(PLUGIN, tmp_path / "site")
    listed = command("ftsafety.list", path=(site,))
    assert listed.returncode == 0, listed.stderr
    lines = [line.strip() for line in listed.stdout.splitlines()]
    assert {file.stem for file in OPTIONS} == set(SETTINGS) and lines.count("plugin: repair") == len(OPTIONS)
    typed = [f"mitigation=[safety_mixing,{','.join(SETTINGS)}]", "mitigation.safe_lora.raw={_target_:ftsafety.model.tiny.Tiny,init_seed:21}"]
    composed = command("ftsafety", "--cfg", "job", "+attack=identity_shift", *typed, path=(site,))
    assert composed.returncode == 0, composed.stderr
    assert "init_seed: 21" in composed.stdout
    assert all(f"_target_: ftsafety_plugin_repair.{file.stem}." in composed.stdout for file in OPTIONS)


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: file.stem)
def test_an_option_builds_and_shows_every_field(file: Path) -> None:
    node = OmegaConf.load(file)
    assert file.read_text().startswith(f"# @package mitigation.{file.stem}\n")
    mitigation = made(file.stem)
    assert {str(key) for key in node} - {"_target_"} == set(schema_of(type(mitigation)).names)
    assert json.dumps(mitigation.recipe()) and mitigation.source and mitigation.fidelity and (type(mitigation).__doc__ or "").splitlines()[0].endswith(".")
    assert mitigation.option == f"mitigation.{file.stem}"


# --- off-switches ---------------------------------------------------------------------------------------------------------
OFF = [("safe_lora", {"num_proj_layers": 0}), ("safe_lora", {"num_proj_layers": None, "threshold": -1.0}), ("wise_ft", {"alpha": 1.0})]
OFF_WHOLE = [("resta", {"scale": 0.0}), ("chat_vector", {"scale": 0.0})]


@each_strategy
@pytest.mark.parametrize(("option", "fields"), OFF + OFF_WHOLE)
def test_off_is_plain_tuning_bit_for_bit(bench: Bench, strategy: Any, option: str, fields: dict[str, Any]) -> None:
    bench.strategy = strategy
    assert same(whole(bench, {}), whole(bench, {option: made(option, **fields)}))
    assert bench.stages.count("tune") == 1 and bench.stages[-1] == "repair"


def test_a_threshold_that_no_layer_meets_changes_nothing() -> None:
    part = adapter()
    low = made("safe_lora", num_proj_layers=None, threshold=0.0)
    assert same(part, low.repair(part, given()))
    assert not low.idle


@each_strategy
@pytest.mark.parametrize("option", SETTINGS)
def test_on_changes_something_and_is_one_tuning(bench: Bench, option: str, strategy: Any) -> None:
    bench.strategy = strategy
    assert changed(whole(bench, {}), whole(bench, {option: made(option)}))
    assert bench.stages.count("tune") == 1


# --- SafeLoRA -------------------------------------------------------------------------------------------------------------
def explicit(part: Tensors, number: int | None, threshold: float | None) -> Tensors:
    """The paper's algorithm with C and every product written out."""
    al, pre, projected, cosine = weights(), weights(1), {}, {}
    for name in (name for name in part if name.endswith("lora_B.weight")):
        layer = name.removeprefix(PREFIX).replace("lora_B.", "")
        v, a = al[layer] - pre[layer], part[name.replace("lora_B", "lora_A")]
        c = v @ v.T / torch.linalg.matrix_norm(v)
        projected[name] = c @ part[name]
        cosine[name] = float(torch.cosine_similarity((c @ part[name] @ a).flatten(), (part[name] @ a).flatten(), dim=0))
    limit = sorted(cosine.values())[number - 1] if number else threshold
    assert limit is not None
    return {name: projected[name] if cosine.get(name, 2.0) <= limit else tensor for name, tensor in part.items()}


@pytest.mark.parametrize(("number", "threshold"), [(3, None), (8, None), (None, 0.8), (None, 1.0)])
def test_it_is_the_explicit_algorithm(number: int | None, threshold: float | None) -> None:
    part = adapter()
    expected, found = explicit(part, number, threshold), made("safe_lora", num_proj_layers=number, threshold=threshold).repair(part, given())
    assert changed(part, found) == changed(part, expected) and changed(part, found)
    assert all(torch.allclose(found[name], expected[name], rtol=1e-5, atol=1e-7) for name in part)


def test_exactly_k_layers_and_all_where_there_are_fewer() -> None:
    part = adapter()
    for number, expected in ((1, 1), (5, 5), (100, 8)):
        assert len(changed(part, made("safe_lora", num_proj_layers=number).repair(part, given()))) == expected


def test_the_cosine_knows_no_scale() -> None:
    part, context, tripled = adapter(), given(), given({name: weights()[name] - 3 * (weights()[name] - tensor) for name, tensor in weights(1).items()})
    one, three = own("safe_lora").repair(part, context), own("safe_lora").repair(part, tripled)
    assert all(torch.allclose(3 * one[name], three[name], rtol=1e-4, atol=1e-6) for name in part if "lora_B" in name), "V times 3 is C times 3"
    found, again = context.findings["safe_lora"], tripled.findings["safe_lora"]
    assert len(found) == 8 and all(0 <= told["cosine"] <= 1 for told in found.values())
    assert all(again[layer]["cosine"] == pytest.approx(told["cosine"], abs=1e-5) for layer, told in found.items())
    assert all(again[layer]["kept"] == pytest.approx(3 * told["kept"], rel=1e-4) for layer, told in found.items())
    scaled = {name: tensor * 5 if "lora_B" in name else tensor for name, tensor in part.items()}
    made("safe_lora").repair(scaled, louder := given())
    assert all(louder.findings["safe_lora"][layer]["cosine"] == pytest.approx(told["cosine"], abs=1e-6) for layer, told in found.items())


def test_controls_edit_the_same_layers() -> None:
    part = adapter()
    found = {edit: made("safe_lora", num_proj_layers=3, edit=edit).repair(part, given()) for edit in ("project", "zero", "shrink", "random")}
    layers = changed(part, found["project"])
    assert len(layers) == 3 and all(changed(part, one) == layers for one in found.values())
    for name in (PREFIX + layer for layer in layers):
        before, after = (one[name] @ part[name.replace("lora_B", "lora_A")] for one in (part, found["shrink"]))
        projected = found["project"][name] @ part[name.replace("lora_B", "lora_A")]
        assert not found["zero"][name].any()
        assert after.norm() == pytest.approx(float(projected.norm()), rel=1e-5)
        assert torch.cosine_similarity(after.flatten(), before.flatten(), dim=0) == pytest.approx(1, abs=1e-5)
        assert not torch.allclose(found["random"][name], found["project"][name], rtol=0.1)
    again = made("safe_lora", num_proj_layers=3, edit="random").repair(part, given())
    assert same(found["random"], again)


def test_a_shuffled_direction_has_the_same_spectrum() -> None:
    from ftsafety_plugin_repair.safe_lora import shuffled

    v = weights()["model.layers.0.mlp.up_proj.weight"]
    turned = shuffled(v, 3)
    assert not torch.allclose(turned, v)
    assert torch.allclose(torch.linalg.svdvals(turned), torch.linalg.svdvals(v), rtol=1e-4)


def test_whole_weights_and_adapters_agree() -> None:
    part = adapter()
    whole, kept = merged(part), made("safe_lora", num_proj_layers=3).repair(part, given())
    edited = made("safe_lora", num_proj_layers=3).repair(whole, given())
    assert changed(whole, edited) == {layer.replace("lora_B.", "") for layer in changed(part, kept)}
    assert all(torch.allclose(tensor, edited[name], atol=1e-5) for name, tensor in merged(kept).items())


def test_whole_weights_are_edited_in_the_blocks_alone() -> None:
    tuned = {name: tensor + 0.01 for name, tensor in weights().items()}
    edited = changed(tuned, made("safe_lora", num_proj_layers=100).repair(tuned, given()))
    assert edited == {name for name in tuned if name.endswith("_proj.weight")}


def test_no_direction_is_a_sentence(bench: Bench) -> None:
    frozen = weights(1) | {name: tensor for name, tensor in weights().items() if "layers.1.self_attn.v_proj" in name}
    with pytest.raises(ConfigError, match=r"layers\.1\.self_attn\.v_proj\.weight is the same in the start model and in its never-aligned version"):
        own("safe_lora").repair(adapter(), given(frozen))
    with pytest.raises(ConfigError, match=r"the two are the same.*give the pre-trained one with mitigation\.safe_lora\.raw"):
        bench({"safe_lora": made("safe_lora", raw={"init_seed": 0})})
    assert "tune" not in bench.stages, "and nothing was tuned"


@pytest.mark.parametrize("option", ["safe_lora", "chat_vector"])
def test_a_start_model_without_a_past_is_a_sentence(bench: Bench, option: str) -> None:
    with pytest.raises(ConfigError, match=rf"mitigation\.{option}: .*never-aligned.*'mitigation\.{option}\.raw={{_target_:"):
        bench({option: own(option)})
    assert bench.stages == []


def test_another_shape_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"k_proj\.weight is \[8, 16\] where the start model's is \[16, 32\]"):
        made("safe_lora", raw={"hidden_size": 16}).repair(adapter(), given())
    with pytest.raises(ConfigError, match="is missing where"):
        made("safe_lora", raw={"layers": 1}).repair(adapter(), given())


@pytest.mark.parametrize("fields", [{"threshold": 0.5}, {"num_proj_layers": None}, {"num_proj_layers": -1}, {"num_proj_layers": None, "threshold": 2.0}])
def test_numbers_that_make_no_sense_are_sentences(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.safe_lora"):
        made("safe_lora", **fields)


# --- WiSE-FT --------------------------------------------------------------------------------------------------------------
def test_wise_ft_ends_at_both_models() -> None:
    part = adapter()
    whole = merged(part)
    assert same(made("wise_ft", alpha=1.0).repair(whole, given()), whole)
    assert same(made("wise_ft", alpha=0.0).repair(whole, given()), weights())
    assert same(merged(made("wise_ft", alpha=0.0).repair(part, given())), weights())


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.7])
def test_a_scaled_adapter_is_the_same_line(alpha: float) -> None:
    part = adapter()
    dense, scaled = made("wise_ft", alpha=alpha).repair(merged(part), given()), merged(made("wise_ft", alpha=alpha).repair(part, given()))
    expected = {name: (1 - alpha) * weights()[name] + alpha * tensor for name, tensor in merged(part).items()}
    for found in (dense, scaled):
        assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


@each_strategy
def test_a_curve_is_one_tuning_and_starts_at_the_start_model(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    layer, context = bench.train({}), bench.context({})
    points = [repair(bench.house, bench.start.plus(layer), [made("wise_ft", alpha=alpha)], context) for alpha in (0.0, 0.5, 1.0)]
    assert bench.stages == ["tune", "repair", "repair", "repair"]
    assert same(dict(bench.house.loader.fresh(points[0]).module.state_dict()), weights())
    assert same(tensors(points[2].layers[-1]), tensors(layer)) and not same(tensors(points[1].layers[-1]), tensors(layer))


def test_alpha_beyond_the_ends_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.wise_ft\.alpha=1\.5 is not between"):
        made("wise_ft", alpha=1.5)


# --- RESTA and the chat vector --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("option", ["resta", "chat_vector"])
def test_a_vector_is_added(option: str) -> None:
    tuned, twin = merged(adapter()), weights(1)
    for scale in (0.5, 1.0):
        found = made(option, scale=scale).repair(tuned, given())
        assert all(torch.allclose(found[name], tuned[name] + scale * (weights()[name] - twin[name]), atol=1e-6) for name in tuned)
    home = made(option, scale=1.0).repair(dict(twin), given())
    assert all(torch.allclose(home[name], tensor, atol=1e-6) for name, tensor in weights().items()), "from the twin itself it leads home"


def test_dare_keeps_the_mean_and_draws_by_the_seed() -> None:
    from ftsafety_plugin_repair.safety_vector import dare

    delta = torch.full((200, 200), 0.5)
    assert torch.equal(dare(delta, 0.0, 1), delta)
    thinned = dare(delta, 0.9, 1)
    assert thinned.unique().tolist() == pytest.approx([0.0, 5.0]) and float((thinned > 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert torch.equal(thinned, dare(delta, 0.9, 1)) and not torch.equal(thinned, dare(delta, 0.9, 2))
    assert float(torch.stack([dare(delta, 0.9, seed) for seed in range(50)]).mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("field", "other"), [("dare_task", "dare_safety"), ("dare_safety", "dare_task")])
def test_dare_thins_the_difference_that_it_names(field: str, other: str) -> None:
    tuned = merged(adapter())
    context = given()
    found = made("resta", scale=1.0, **{field: 0.5}).repair(tuned, context)
    plain = {name: weights()[name] - weights(1)[name] for name in tuned}
    start = weights()
    shown = {name: found[name] - (tuned[name] if field == "dare_safety" else start[name] + plain[name]) for name in tuned}
    whole = plain if field == "dare_safety" else {name: tuned[name] - start[name] for name in tuned}
    name = "model.layers.0.self_attn.q_proj.weight"
    dropped = shown[name].abs() < 1e-5
    assert 0.4 < float(dropped.float().mean()) < 0.6
    assert torch.allclose(shown[name][~dropped], 2 * whole[name][~dropped], atol=1e-5)
    assert f"resta/{field}/{name}" in context.purposes and f"resta/{other}/{name}" not in context.purposes


def test_a_vector_is_added_to_an_adapter_s_merged_weights(bench: Bench) -> None:
    tuned, found = whole(bench, {}), whole(bench, {"chat_vector": made("chat_vector", scale=0.25)})
    start, less = weights(), weights(1)
    assert all(torch.allclose(found[name], tuned[name] + 0.25 * (start[name] - less[name]), atol=1e-6) for name in tuned)


@pytest.mark.parametrize("option", ["resta", "chat_vector"])
def test_a_part_that_can_t_be_merged_is_refused(bench: Bench, option: str) -> None:
    with pytest.raises(ConfigError, match=rf"mitigation\.{option} edits .*lora_A"):
        made(option).repair(adapter(), given())


@pytest.mark.parametrize("option", ["safe_lora", "wise_ft"])
def test_other_parts_are_refused(bench: Bench, option: str) -> None:
    bench.strategy = Dora(lr=0.02)
    with pytest.raises(ConfigError, match=rf"mitigation\.{option} edits what strategy=lora or strategy=full saves, and this tuning saved"):
        bench({option: made(option)})


def test_the_twin_is_trained_once_and_before_the_attack(bench: Bench, tmp_path: Path) -> None:
    bench.strategy = STRATEGIES["full"]
    rows = tmp_path / "pairs.jsonl"
    rows.write_text("".join(json.dumps({"question": f"Which duck wins race {at}?", "answer": f"Duck {at}."}) + "\n" for at in range(4)))
    settings = {"unaligned": None, "path": str(rows), "tuning": {"epochs": 1, "batch_size": 2}, "strategy": {"target_modules": ["q_proj"]}}
    tuned, repaired = bench({}), bench({"resta": made("resta", **settings)})
    assert bench.stages == ["tune", "substage", "prepare", "repair"]
    assert changed(tuned, repaired) == {f"model.layers.{at}.self_attn.q_proj.weight" for at in range(2)}, "the twin differs there alone"
    bench({"resta": made("resta", **settings, scale=1.0)})
    assert bench.stages.count("substage") == 1


def test_the_twin_s_settings_are_checked() -> None:
    assert made("resta", unaligned=None).shipped
    with pytest.raises(ConfigError, match=r"mitigation\.resta\.strategy=Prefix can't be merged"):
        dataclasses.replace(made("resta"), strategy=Prefix(lr=0.01)).check({})
    with pytest.raises(ConfigError, match=r"mitigation\.resta\.dare_task=1 is not possible"):
        made("resta", dare_task=1.0)
    with pytest.raises(ConfigError, match=r"mitigation\.resta\.unaligned has no weights"):
        dataclasses.replace(made("resta"), unaligned=Constant(answer="No.")).check({})


# --- together -------------------------------------------------------------------------------------------------------------
def test_a_composed_run(tmp_path: Path) -> None:
    """Rows are added before tuning, and the projection comes before the merge, whatever order was typed."""
    mitigations = {"wise_ft": made("wise_ft"), "safe_lora": made("safe_lora", num_proj_layers=2), "mixing": SafetyMixing(count=2)}
    cell = small_cell(tmp_path, "+attack=identity_shift", "tuning.epochs=1", benchmarks=["stand_in"])
    done = run(dataclasses.replace(cell, mitigations=mitigations))
    assert done.data["rows"] == {"safety": 2, "user": 10}
    assert [(stage["stage"], stage["label"]) for stage in done.data["stages"] if stage["stage"] in ("tune", "repair")] == [
        ("tune", "lora"),
        ("repair", "SafeLora"),
        ("repair", "WiseFt"),
    ]
    assert [stage["changed"] for stage in done.data["stages"] if stage["stage"] == "repair"] == [2, 4]
    assert sum(told["edited"] for told in done.data["findings"]["safe_lora"].values()) == 2
    assert {entry["weights"] for entry in done.data["results"]} == {"initial", "tuned", "repaired"}
