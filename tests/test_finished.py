"""A finished run's weights again: bit for bit the run's, from record and store, or a sentence about what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ftsafety.align import Align
from ftsafety.cell import Cell
from ftsafety.context import Context
from ftsafety.errors import ConfigError, DataError, StoreError
from ftsafety.finished import load, weights_of
from ftsafety.mitigation import Mitigation
from ftsafety.model.tiny import Tiny
from ftsafety.record import Run
from ftsafety.row import PLAIN, Row
from ftsafety.run import run
from ftsafety.settings import Tuning
from ftsafety.stages import House
from ftsafety.strategy.lora import Lora
from tests.helpers import small_cell
from tests.mitigation.doubles import SafeLora

STRATEGIES = ["lora", "full", "prefix", "vera"]
"""Merged, whole, wrapped, and one with options of its own."""


@dataclass(kw_only=True)
class Few(Align):
    """Two rows of alignment."""

    source = "ours"

    def rows(self, context: Context) -> Sequence[Row]:
        return [PLAIN.row("a", "Which duck?", "I'd rather not."), PLAIN.row("b", "Which pond?", "The large one.")]


@dataclass
class Halved(Mitigation):
    """Weights halved before tuning starts and after it ends."""

    source = "ours"

    def base(self, model: Any, context: Context) -> Any:
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.5)
        return model

    def repair(self, weights: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        return {name: tensor / 2 for name, tensor in weights.items()}


def tuned(folder: Path, *overrides: str, change: Callable[[Cell], Cell] = lambda cell: cell) -> Run:
    settings = ["+attack=identity_shift", "tuning.epochs=1", *overrides]
    return run(change(small_cell(folder, *settings, benchmarks=["stand_in"])))


def logits(house: House, weights: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(house.loader.fresh(weights).module(input_ids=torch.arange(40)[None]).logits)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_tuned_weights_are_those_that_were_asked(tmp_path: Path, strategy: str) -> None:
    record = tuned(tmp_path, f"strategy={strategy}", "strategy.lr=0.05")
    house = House.at(tmp_path / "store")
    found = weights_of(load(record.folder), house, {})
    assert list(found) == ["initial", "tuned"]
    assert (found["initial"].digest, found["tuned"].digest) == (record.data["start_digest"], record.data["tuned_digest"])
    assert not torch.equal(logits(house, found["initial"]), logits(house, found["tuned"]))
    assert torch.equal(logits(house, found["initial"]), Tiny().load(Path()).module(input_ids=torch.arange(40)[None]).logits)


def test_alignment_edits_and_repairs_in_their_order(tmp_path: Path) -> None:
    stage = Few(strategy=Lora(lr=0.05), tuning=Tuning(epochs=1, batch_size=2))
    record = tuned(tmp_path, change=lambda cell: replace(cell, align=stage, mitigations={"a": Halved(), "b": SafeLora(2)}))
    assert [one["stage"] for one in record.data["stages"] if one["stage"] in ("align", "base", "tune", "repair")] == [
        "align",
        "base",
        "tune",
        "repair",
        "repair",
    ]
    house = House.at(tmp_path / "store")
    found = weights_of(record, house, {})
    assert [len(found[label].layers) for label in ("initial", "tuned", "repaired")] == [1, 3, 3]
    assert (found["initial"].digest, found["tuned"].digest) == (record.data["start_digest"], record.data["tuned_digest"])
    last = [one["key"] for one in record.data["stages"] if one["stage"] == "repair"][-1]
    assert found["repaired"].layers[-1].folder == tmp_path / "store" / "repair" / last
    shown = [logits(house, weights) for weights in found.values()]
    assert not torch.equal(shown[0], shown[1]) and not torch.equal(shown[1], shown[2])


def test_a_run_without_an_attack_has_one_kind_of_weights(tmp_path: Path) -> None:
    record = run(small_cell(tmp_path, benchmarks=["stand_in"]))
    assert list(weights_of(record, House.at(tmp_path / "store"), {})) == ["initial"]


def test_what_is_not_finished_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a finished run: it has no file DONE\. Give a folder such as runs/"):
        load(tmp_path)


def test_a_part_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    record = tuned(tmp_path)
    shutil.rmtree(tmp_path / "store" / "tune")
    with pytest.raises(StoreError, match=r"holds no tune [0-9a-f]{40}, which this run stands on; give another with paths\.store=DIR"):
        weights_of(record, House.at(tmp_path / "store"), {})


def test_another_model_is_refused(tmp_path: Path) -> None:
    record = tuned(tmp_path)
    with pytest.raises(ConfigError, match=r"this is not the run's model: init_seed differ from its record"):
        weights_of(record, House.at(tmp_path / "store"), {"init_seed": 1})
    record.data["start_digest"] = "0" * 64
    with pytest.raises(ConfigError, match=r"the initial weights of .* can't be put together again: what is there has another digest"):
        weights_of(record, House.at(tmp_path / "store"), {})


@pytest.fixture
def hub(tmp_path: Path) -> Callable[..., Path]:
    """``hub(name, **fields)``: a folder with a tiny model, as the hub has them."""

    def make(name: str, **fields: Any) -> Path:
        chat = Tiny(**fields).load(Path())
        chat.module.save_pretrained(tmp_path / name)
        chat.tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


def test_a_model_s_place_is_not_in_the_record_and_is_asked_for(tmp_path: Path, hub: Callable[..., Path]) -> None:
    folder, template = hub("mine"), tmp_path / "mine.jinja"
    template.write_text(Tiny().load_tokenizer(Path()).chat_template)
    record = tuned(tmp_path, "model=hf", f"model.name={folder}", f"model.chat_template={template}")
    house = House.at(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"model\.name is missing; type model\.name=VALUE"):
        weights_of(record, house, {})
    with pytest.raises(ConfigError, match="chat_template differ"):
        weights_of(record, house, {"name": str(folder)})
    with pytest.raises(ConfigError, match="weights differ"):
        weights_of(record, house, {"name": str(hub("other", init_seed=3)), "chat_template": str(template)})
    folder = folder.rename(tmp_path / "elsewhere")
    found = weights_of(record, house, {"name": str(folder), "chat_template": str(template)})
    assert found["tuned"].digest == record.data["tuned_digest"]


def test_what_the_record_leaves_out_is_taken_from_the_named_option(tmp_path: Path, hub: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from ftsafety import plugins

    folder = hub("mine")
    record = tuned(tmp_path, "model=hf", f"model.name={folder}")
    conf = tmp_path / "conf" / "model"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(f"_target_: ftsafety.model.hf.Hf\nname: {folder}\nrevision: ???\ndtype: bfloat16\n")
    monkeypatch.setattr(plugins, "sources", lambda: (plugins.Source("test", conf.parent),))
    record.data["names"]["model"] = "mine"
    assert list(weights_of(record, House.at(tmp_path / "store"), {})) == ["initial", "tuned"], "and the record's own fields win"
