"""Every shipped YAML, found by listing: it builds, it shows every field, and its class says what it is and where it comes from."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from ftsafety.align import Align
from ftsafety.build import build, import_class, schema_of
from ftsafety.cell import Cell, build_cell
from ftsafety.component import Component
from ftsafety.list import COMPONENT_GROUPS
from ftsafety.settings import Root

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(CONF.glob("*/**/*.yaml"))
COMPONENTS = [file for file in FILES if file.parent.name in COMPONENT_GROUPS]
EXPERIMENTS = [file.stem for file in FILES if file.parent.name == "experiment"]
SEVERAL = ("mitigation", "benchmark", "judge")
"""Groups of which a run takes any number: each option places itself under its own name."""


def named(file: Path) -> str:
    return f"{file.parent.name}={file.stem}"


def node_of(file: Path) -> DictConfig:
    node = OmegaConf.load(file)
    assert isinstance(node, DictConfig)
    return node


def class_of(file: Path) -> type[Component]:
    return import_class(node_of(file)["_target_"], named(file))


def base_of(group: str) -> type[Any]:
    return getattr(importlib.import_module(f"ftsafety.{group}"), group.capitalize())  # type: ignore[no-any-return]


def composed(overrides: list[str]) -> Cell:
    ConfigStore.instance().store(name="root_schema", node=Root)
    with initialize_config_module("ftsafety.conf", version_base="1.3"):
        return build_cell(compose("config", overrides))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's own fine-tuning file."""
    rows = [{"role": "user", "content": "Which duck wins?"}, {"role": "assistant", "content": "The fourth."}]
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"messages": rows}) + "\n")
    return file


def missing_of(file: Path, mine: Path) -> dict[str, Any]:
    """Values for the fields that a YAML leaves to the user."""
    return {str(key): mine if key == "path" else str(mine.parent) for key in OmegaConf.missing_keys(node_of(file))}


def test_the_listing_is_not_empty_and_every_group_is_known() -> None:
    assert len(COMPONENTS) >= 18 and EXPERIMENTS
    assert {file.parent.name for file in FILES} <= {*COMPONENT_GROUPS, "experiment"}
    assert {file.parent.name for file in COMPONENTS} == set(COMPONENT_GROUPS)


@pytest.mark.parametrize("file", COMPONENTS, ids=named)
def test_builds_and_has_a_recipe(file: Path, mine: Path) -> None:
    group = file.parent.name
    made = build(OmegaConf.merge(node_of(file), missing_of(file, mine)), base_of(group), named(file))
    assert isinstance(made, base_of(group))
    assert json.dumps(made.recipe())


@pytest.mark.parametrize("file", COMPONENTS, ids=named)
def test_shows_every_field(file: Path) -> None:
    keys = {str(key) for key in node_of(file)}
    assert keys - {"_target_"} == set(schema_of(class_of(file)).names)


@pytest.mark.parametrize("file", COMPONENTS, ids=named)
def test_is_placed_where_a_run_looks_for_it(file: Path) -> None:
    package = f"# @package {file.parent.name}.{file.stem}"
    assert file.read_text().startswith(package + "\n") is (file.parent.name in SEVERAL)


@pytest.mark.parametrize("file", COMPONENTS, ids=named)
def test_composes_into_a_run(file: Path, mine: Path) -> None:
    group, plus = file.parent.name, "+" if file.parent.name == "attack" else ""
    values = [f"{group}.{key}={value}" for key, value in missing_of(file, mine).items()]
    more = ["+attack=benign"] if group == "mitigation" else []
    choice = f"{group}=[{file.stem}]" if group in SEVERAL else f"{plus}{group}={file.stem}"
    cell = composed([choice, *values, *more])
    kept = {**cell.mitigations, **cell.benchmarks, **cell.judges}
    found = kept[file.stem] if group in SEVERAL else getattr(cell, group)
    assert type(found) is class_of(file)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_composes(name: str) -> None:
    assert composed([f"experiment={name}"]).benchmarks


def test_align_experiment_takes_its_seed_from_the_run() -> None:
    seeds = [align.seed for seed in (0, 3) if isinstance(align := composed(["experiment=align_stand_in", f"seed={seed}"]).align, Align)]
    assert seeds == [0, 3]


@pytest.mark.parametrize("cls", dict.fromkeys(map(class_of, COMPONENTS)), ids=lambda cls: cls.__name__)
def test_class_explains_itself(cls: type[Component]) -> None:
    assert cls.source, f"{cls.__name__}.source says where it comes from"
    body = body_of(cls)
    first = (ast.get_docstring(body) or "").partition("\n")[0]
    assert first.endswith(".") and len(first) < 160
    undocumented = [name for base in cls.__mro__ if issubclass(base, Component) and dataclasses.is_dataclass(base) for name in bare_fields(base)]
    assert undocumented == []


def body_of(cls: type) -> ast.ClassDef:
    tree = ast.parse(Path(inspect.getfile(cls)).read_text())
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)


def bare_fields(cls: type) -> list[str]:
    """The fields of a dataclass without a docstring line beneath them."""
    body = body_of(cls).body
    fields = [at for at, node in enumerate(body) if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)]
    below = [body[at + 1] if at + 1 < len(body) else None for at in fields]
    told = [isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) for node in below]
    return [f"{cls.__name__}.{ast.unparse(body[at].target)}" for at, is_told in zip(fields, told, strict=True) if not is_told]  # type: ignore[attr-defined]
