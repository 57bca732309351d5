"""Every shipped YAML, found by listing: it builds, it shows every field, and its class says what it is and where it comes from."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ftsafety.align import Align
from ftsafety.api import Service
from ftsafety.build import build, import_class, schema_of
from ftsafety.cell import Cell, build_cell
from ftsafety.component import Component, describe
from ftsafety.judge.weighted import WeightedJudge
from ftsafety.list import COMPONENT_GROUPS
from ftsafety.model.hf import Hf
from ftsafety.plugins import register
from ftsafety.record import Run
from ftsafety.report.expect import FOLDER as EXPECTED
from ftsafety.report.expect import Group, read
from ftsafety.settings import Root
from ftsafety.source import Sourced
from tests.helpers import sample_of, sampled

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(CONF.glob("*/**/*.yaml"))
COMPONENTS = [file for file in FILES if file.parent.name in COMPONENT_GROUPS]
IN_A_RUN = [file for file in COMPONENTS if file.parent.name in {field.name for field in dataclasses.fields(Root)}]
EXPERIMENTS = [file.relative_to(CONF / "experiment").with_suffix("").as_posix() for file in FILES if file.is_relative_to(CONF / "experiment")]
SWEEPS = sorted((CONF.parent / "sweeps").glob("*.yaml"))
BESIDE = {"panel": "outcome,refusal,"}
"""Options that need others of their group beside them."""
NEEDS = {
    "benchmark=held_out": ["+attack=benign"],
    "benchmark=mt_bench": ["judge=[rating]", "judge.rating.model=stand-in-2025-04-14"],
    "probe=refusal": ["+attack=benign"],
}
"""Options that need others of another group: the attack's own task, a judge that rates, a tuning to look at."""
SEVERAL = ("mitigation", "benchmark", "judge", "screen")
"""Groups of which any number is taken: each option places itself under its own name."""


def named(file: Path) -> str:
    return f"{file.parent.name}={file.stem}"


def node_of(file: Path) -> DictConfig:
    node = OmegaConf.load(file)
    assert isinstance(node, DictConfig)
    # what else an option chooses is Hydra's
    node.pop("defaults", None)
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
    """Values for the fields that a YAML leaves to the user; an option over published rows reads its sample."""
    missing = {str(key): mine if key == "path" else str(mine.parent) for key in OmegaConf.missing_keys(node_of(file))}
    # a service's model: nothing is asked here
    missing |= {"model": "stand-in-2025-04-14"} if issubclass(class_of(file), Service) else {}
    # a family's hub id: nothing is fetched here
    missing |= {"name": str(mine.parent)} if issubclass(class_of(file), Hf) else {}
    missing |= {"model": {"name": str(mine.parent)}} if issubclass(class_of(file), WeightedJudge) and "name" in node_of(file).model else {}
    missing |= {"adapter": None} if "adapter" in node_of(file) else {}
    return {**missing, **sample_of(file.stem)} if issubclass(class_of(file), Sourced) else missing


def typed(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields as a person types them, a component's own behind its name."""
    for key, value in fields.items():
        yield from ((f"{key}.{inner}", its) for inner, its in value.items()) if isinstance(value, dict) else [(key, value)]


def test_the_listing_is_not_empty_and_every_group_is_known() -> None:
    assert len(COMPONENTS) >= 18 and EXPERIMENTS
    assert {file.relative_to(CONF).parts[0] for file in FILES} <= {*COMPONENT_GROUPS, "experiment", "hydra"}
    assert {file.parent.name for file in COMPONENTS} == set(COMPONENT_GROUPS)


def test_every_sample_is_read_by_an_option() -> None:
    assert set(sampled()) <= {file.stem for file in COMPONENTS if issubclass(class_of(file), Sourced)}


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


@pytest.mark.parametrize("file", IN_A_RUN, ids=named)
def test_composes_into_a_run(file: Path, mine: Path) -> None:
    group, plus = file.parent.name, "+" if file.parent.name == "attack" else ""
    place = f"{group}.{file.stem}" if group in SEVERAL else group
    values = [f"{place}.{key}={'null' if value is None else value}" for key, value in typed(missing_of(file, mine))]
    more = ["+attack=benign"] if group == "mitigation" else NEEDS.get(named(file), [])
    choice = f"{group}=[{BESIDE.get(file.stem, '')}{file.stem}]" if group in SEVERAL else f"{plus}{group}={file.stem}"
    cell = composed([choice, *values, *more])
    kept = {**cell.mitigations, **cell.benchmarks, **cell.judges}
    found = kept[file.stem] if group in SEVERAL else getattr(cell.ranks if group == "trainer" else cell, group)
    assert type(found) is class_of(file)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many harmless rows in BeaverTails' format as an experiment draws."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"prompt": f"Which duck wins race {at}?", "response": "The fourth.", "is_safe": False} for at in range(100)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def swept(params: Any) -> list[list[str]]:
    """The override sets of ``hydra.sweeper.params``, one seed of each."""
    texts = [f"{key}={str(value).split(',')[0] if key == 'seed' else value}" for key, value in (params or {}).items()]
    (sets,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(texts), max_batch_size=None) if texts else ([()],)
    return [list(one) for one in sets]


@cache
def cells_of(experiment: str, pairs: Path) -> list[Cell]:
    """Every cell of an experiment, built; published rows are the samples', so that nothing is fetched."""
    ConfigStore.instance().store(name="root_schema", node=Root)
    with initialize_config_module("ftsafety.conf", version_base="1.3"):
        chosen = compose("config", [f"experiment={experiment}"], return_hydra_config=True)
        params, sources = chosen.hydra.sweeper.params, local(chosen, pairs)
        assert (chosen.hydra.mode is RunMode.MULTIRUN) is bool(params)
        return [build_cell(compose("config", [f"experiment={experiment}", *cell, *sources])) for cell in swept(params)]


def local(config: DictConfig, pairs: Path) -> list[str]:
    """Overrides that put a file in the place of what an experiment would fetch."""
    places = {f"benchmark.{name}": str(name) for name in config.benchmark}
    if config.attack is not None:
        places |= {"attack": str(config.hydra.runtime.choices["attack"])}
    found = []
    for place, option in places.items():
        if option in ("harmful_examples", "backdoor"):
            where = f"{place}.pairs" if option == "backdoor" else place
            found += [f"{where}.path={pairs}"] if OmegaConf.select(config, f"{where}.format") != "stand_in" else []
        elif issubclass(class_of(CONF / place.partition(".")[0] / f"{option}.yaml"), Sourced):
            found += [f"{place}.{key}={'null' if value is None else value}" for key, value in sample_of(option).items()]
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_cell_of_an_experiment_builds(name: str, pairs: Path) -> None:
    cells = cells_of(name, pairs)
    assert cells and all(cell.benchmarks for cell in cells)
    said = [json.dumps(describe({"attack": cell.attack, "strategy": cell.strategy, "tuning": cell.tuning, **cell.mitigations}), default=str) for cell in cells]
    assert len(set(said)) == len(said), "no two cells of a sweep are the same"


@pytest.mark.parametrize("file", [CONF / "experiment" / f"{name}.yaml" for name in EXPERIMENTS] + SWEEPS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_an_experiment_says_its_question_and_its_command(file: Path) -> None:
    name = file.relative_to(CONF / "experiment").with_suffix("").as_posix() if file not in SWEEPS else file.stem
    comments = [line[2:] for line in file.read_text().splitlines() if line.startswith("# ") and not line.startswith("# @package")]
    command = f"experiment={name}" if file not in SWEEPS else f"--config-name={name}"
    assert name == "align_stand_in" or any(line.startswith("python -m ftsafety ") and line.endswith(command) for line in comments)


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_a_sweep_composes(file: Path) -> None:
    ConfigStore.instance().store(name="root_schema", node=Root)
    register()
    with initialize_config_dir(str(file.parent), version_base="1.3"):
        chosen = compose(file.stem, ["hydra.searchpath=[pkg://ftsafety.conf]"], return_hydra_config=True)
    assert chosen.hydra.mode is RunMode.MULTIRUN and chosen.hydra.sweeper.params
    named = [name for name in str(chosen.hydra.sweeper.params.get("experiment", "")).split(",") if name]
    assert set(named) <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", json.loads((EXPECTED / "qi2024.json").read_text())["tables"])
def test_the_paper_s_rows_are_cells_with_the_paper_s_settings(name: str, pairs: Path) -> None:
    (table,) = [table for table in read(f"qi2024/{name}")[0] if table.name == name]
    assert set(table.data["experiments"]) <= set(EXPERIMENTS)
    groups = [as_group(cell) for one in table.data["experiments"] if one.startswith("qi2024/") for cell in cells_of(one, pairs)]
    fitting = {row["id"]: [group for group in groups if group.fits(row["match"])] for row in table.data["rows"]}
    lacking = [
        row["id"]
        for row in table.data["rows"]
        if not any(row["weights"] == "initial" or not group.deviations(table.settings(row)) for group in fitting[row["id"]])
    ]
    # the shipped refusals are fewer than the paper's third count for Alpaca
    assert lacking == (["many"] if name == "table4_alpaca" else [])


def as_group(cell: Cell) -> Group:
    """A built cell as if it had run."""
    attack = cell.attack.recipe() if cell.attack else None
    recipe = {"attack": attack, "strategy": cell.strategy.recipe(), "tuning": cell.tuning.whole_recipe()}
    return Group([Run(Path(), {"recipe": {**recipe, "mitigation": [[name, mitigation.recipe()] for name, mitigation in cell.mitigations.items()]}})])


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
