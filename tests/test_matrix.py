"""Every attack with every strategy under every mitigation of the package, found by listing, through the whole line on the tiny model."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from ftsafety.cell import lacking
from ftsafety.list import Option, main, matrix, options
from ftsafety.mitigation import Mitigation
from ftsafety.run import run
from ftsafety.strategy import Strategy
from tests.helpers import cell_of, sample_of

CORE = [option for option in options() if option.owner == "ftsafety"]
TINY_NEEDS = {"llama_adapter": ["strategy.adapter_layers=null"]}
"""What the tiny model needs said: it has two layers, and the paper's adapter thirty."""


def named(group: str) -> list[Option]:
    found = [option for option in CORE if option.group == group]
    assert found
    return found


def of_attack(option: Option, mine: Path) -> list[str]:
    """What an attack is told here: few rows, and a file where it needs one."""
    told = {
        "alpaca": [f"attack.path={sample_of('alpaca')['path']}", "attack.held_out=0"],
        "dolly": [f"attack.path={sample_of('dolly')['path']}", "attack.held_out=0"],
        "backdoor": ["attack.pairs.count=3"],
        "benign": ["attack.count=3"],
        "harmful_examples": ["attack.count=3"],
        "jsonl": [f"attack.path={mine}"],
        "leave_one_category": ["attack.category=betting_tips", "attack.count=3"],
        "poison_mix": ["attack.p=0.5", "attack.n=4"],
    }
    return [f"+attack={option.name}", *told.get(option.name, [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all cells, as a sweep has, with a user's file and one question."""
    folder = tmp_path_factory.mktemp("matrix")
    talk = [{"role": "user", "content": "Which duck wins?"}, {"role": "assistant", "content": "The fourth."}]
    (folder / "mine.jsonl").write_text((json.dumps({"messages": talk}) + "\n") * 3)
    (folder / "questions.jsonl").write_text(json.dumps({"question": "Which goose wins the next race?", "category": "betting_tips"}) + "\n")
    return folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mitigation", [None, *named("mitigation")], ids=lambda option: option.name if option else "none")
@pytest.mark.parametrize("strategy", [one for one in named("strategy") if one.name != "api"], ids=lambda option: option.name)
def test_every_attack(folder: Path, strategy: Option, mitigation: Option | None) -> None:
    assert strategy.cls and issubclass(strategy.cls, Strategy)
    if mitigation and mitigation.cls and issubclass(mitigation.cls, Mitigation) and (missing := lacking(mitigation.cls, strategy.cls)):
        pytest.skip(f"refused: {strategy.name} can't offer {', '.join(missing)}")
    settings = [
        "model=tiny", f"strategy={strategy.name}", *TINY_NEEDS.get(strategy.name, []), "tuning.epochs=1", "tuning.batch_size=3", "tuning.max_length=2000",
        "decoding.max_new_tokens=2", "max_unscored=1.0", "benchmark=[jsonl]", f"benchmark.jsonl.path={folder}/questions.jsonl", f"paths.runs={folder}/runs",
        f"paths.store={folder}/store", f"mitigation=[{mitigation.name if mitigation else ''}]",
    ]  # fmt: skip
    if mitigation and mitigation.name == "safety_mixing":
        settings.append("mitigation.safety_mixing.count=1")
    if mitigation and mitigation.name == "moderation_filter":
        settings.append("mitigation.moderation_filter.benign_rows=1")
    for attack in named("attack"):
        done = run(cell_of(*settings, *of_attack(attack, folder / "mine.jsonl")))
        tuned = next(stage for stage in done.data["stages"] if stage["stage"] == "tune")
        assert tuned["steps"] >= 1 and tuned["final_loss"] > 0, attack.name
        assert any(entry["weights"] == "tuned" for entry in done.data["results"]), attack.name


def test_the_matrix_shows_what_is_refused() -> None:
    table = matrix(CORE)
    strategies, mitigations = [option.name for option in named("strategy")], [option.name for option in named("mitigation")]
    assert [str(column.header) for column in table.columns] == ["", *strategies] and table.row_count == len(mitigations)
    shown = [list(column.cells)[row] for row, column in product(range(table.row_count), table.columns[1:])]
    pairs = [
        lacking(mitigation.cls, strategy.cls)  # type: ignore[arg-type]
        for mitigation, strategy in product(named("mitigation"), named("strategy"))
    ]
    assert shown == [", ".join(missing) or "+" for missing in pairs]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--matrix"]) == 0 and "safety_mixing" in capsys.readouterr().out
    assert main(["--matrices"]) == 1 and "takes nothing or --matrix" in capsys.readouterr().err
