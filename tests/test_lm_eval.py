"""lm-eval on a finished run's weights: the same documents before and after, once per weights, and no text kept."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from rich.console import Console

from ftsafety import lm_eval, stats
from ftsafety.errors import ConfigError
from ftsafety.lm_eval import FILE, Settings, as_entries, evaluate, main, settings_of, show
from ftsafety.record import Run
from ftsafety.run import run
from ftsafety.store.refs import read_refs
from tests.helpers import small_cell

INSTALLED = pytest.mark.skipif(find_spec("lm_eval") is None, reason="needs lm-eval: pip install 'ftsafety[lm_eval]'")
COMMON = {"dataset_path": "json", "test_split": "test", "doc_to_text": "{{question}}"}
TASKS: dict[str, dict[str, Any]] = {
    "ducks": {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "label", "metric_list": [{"metric": "acc"}]},
    "ponds": {"output_type": "generate_until", "doc_to_target": "{{choices[label]}}", "generation_kwargs": {"max_gen_toks": 3, "until": ["\n"]},
              "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]},
    "reads": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{question}}", "metric_list": [{"metric": "word_perplexity"}]},
}  # fmt: skip
"""One of each kind: a choice, an answer, a text that is read."""


def one(value: float, *each: float) -> dict[str, Any]:
    return {"value": value, "each": {str(at): number for at, number in enumerate(each)} or None}


def told(**metrics: dict[str, Any]) -> dict[str, Any]:
    return {"ducks": {"version": 1, "fewshot": 0, "documents": 4, "metrics": {f"{name},none": metric for name, metric in metrics.items()}}}


def test_rates_means_and_what_is_neither() -> None:
    before = told(acc=one(0.25, 1, 0, 0, 0), score=one(2.5, 1, 2, 3, 4), perplexity=one(70.0), odd=one(9.0, 1, 2, 3, 4))
    after = told(acc=one(0.75, 1, 1, 1, 0), score=one(3.0, 2, 2, 4, 4), perplexity=one(60.0), odd=one(8.0, 1, 2, 3, 4))
    found = as_entries({"initial": before, "tuned": after})
    by = {(entry["weights"], entry["metric"]): entry for entry in found["results"]}
    assert all((entry["task"], entry["filter"], entry["version"], entry["fewshot"]) == ("ducks", "none", 1, 0) for entry in found["results"])
    wilson, mean = stats.rate([True, False, False, False]), stats.mean([1, 2, 3, 4])
    assert (by["initial", "acc"]["low"], by["initial", "acc"]["high"]) == (round(wilson.low, 6), round(wilson.high, 6))
    assert (by["initial", "score"]["low"], by["initial", "score"]["n"]) == (round(mean.low, 6), 4)
    assert by["tuned", "perplexity"] == {**by["tuned", "perplexity"], "value": 60.0, "low": None, "high": None, "n": 0}
    assert by["tuned", "odd"]["low"] is None, "an aggregate that is not the documents' mean has no interval of theirs"
    changes = {entry["metric"]: entry for entry in found["differences"]}
    assert changes.keys() == {"acc", "score"}
    paired = stats.paired_rate([True, False, False, False], [True, True, True, False])
    assert changes["acc"]["value"] == 0.5 and changes["acc"]["p_value"] == round(paired.p_value or 0, 6)
    assert changes["score"]["value"] == 0.5 and changes["score"]["n"] == 4


def test_other_documents_are_not_compared() -> None:
    before, after = told(acc=one(1.0, 1, 1)), told(acc=one(1.0, 1, 1, 1))
    assert as_entries({"initial": before, "tuned": after})["differences"] == []
    assert as_entries({"initial": before})["differences"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "tasks is missing; type e.g. tasks=[arc_easy,winogrande]"),
        (["tasks=[]"], "tasks is missing"),
        (["tasks=[ducks]", "limt=3"], "limt: Key 'limt' not in 'Settings' python -m ftsafety.lm_eval --help"),
        (["tasks=[ducks]", "limit=many"], "limit: Value 'many' of type 'str' could not be converted to Integer"),
        (["tasks=[ducks]", "limit=0"], "limit=0 is not possible; give at least 1."),
        (["tasks=[ducks]", "fewshot=-1"], "fewshot=-1 is not possible; give at least 0."),
        (["tasks=[ducks]", "batch=0"], "batch=0 is not possible"),
        (["tasks=[ducks]", "include=nowhere"], "include=nowhere is not a folder"),
    ],
)
def test_settings_that_can_not_be(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(words)
    assert says in str(caught.value)


def test_settings() -> None:
    made = settings_of(["tasks=[b,a]", "limit=7", "model.name=mine", "paths.store=here", "chat=true"])
    assert (made.tasks, made.limit, made.model, made.paths.store, made.chat) == (["b", "a"], 7, {"name": "mine"}, "here", True)
    assert made.recipe() == {"tasks": ["a", "b"], "limit": 7, "fewshot": None, "chat": True, "include": None}


def test_help_needs_nothing_heavy(command: Callable[..., CompletedProcess[str]]) -> None:
    done = command("ftsafety.lm_eval", "--help")
    assert done.returncode == 0 and "tasks=[arc_easy,winogrande]" in done.stdout
    code = "import sys, ftsafety.lm_eval; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'lm_eval')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("words", [["tasks=[ducks]"], ["one", "two", "tasks=[ducks]"]])
def test_one_folder_is_needed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert "one run's folder is needed" in capsys.readouterr().err


def test_no_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "nowhere" / "seed=0"):
        assert main([str(folder), "tasks=[ducks]"]) == 1
        assert "is not a finished run" in " ".join(capsys.readouterr().err.split())


def test_without_lm_eval_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    record = run(small_cell(tmp_path, benchmarks=["stand_in"]))
    monkeypatch.setattr(lm_eval, "version", missing)
    assert main([str(record.folder), "tasks=[ducks]"]) == 1
    assert "needs lm-eval, which is not installed; type pip install 'ftsafety[lm_eval]'" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with lm-eval's task files over six harmless rows."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"Which bird swims in pond {at}?", "choices": ["the duck", "the goose"], "label": at % 2} for at in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"data_files": {"test": str(folder / "rows.jsonl")}, "cache_dir": str(tmp_path / "cache")}
    for name, its in TASKS.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **COMMON, "dataset_kwargs": data, "metadata": {"version": 2.0}, **its}))
    return folder


def asked(tmp_path: Path, tasks: Path, **more: Any) -> Settings:
    changed = [f"{key}={value}" for key, value in more.items()]
    return settings_of([f"tasks=[{','.join(TASKS)}]", "limit=4", f"include={tasks}", f"paths.store={tmp_path / 'store'}", *changed])


def small_run(tmp_path: Path, *overrides: str) -> Run:
    settings = ["+attack=identity_shift", "strategy.lr=0.5", *overrides]
    return run(small_cell(tmp_path, *settings, benchmarks=["stand_in"]))


@INSTALLED
@pytest.mark.parametrize("strategy", ["lora", "prefix"])
def test_before_and_after_on_the_same_documents(tmp_path: Path, tasks: Path, strategy: str) -> None:
    record = small_run(tmp_path, f"strategy={strategy}")
    done = evaluate(record.folder, asked(tmp_path, tasks))
    by = {(entry["weights"], entry["task"], entry["metric"]): entry for entry in done["results"]}
    assert by.keys() == {(label, *its) for label in ("initial", "tuned") for its in (("ducks", "acc"), ("ponds", "exact_match"), ("reads", "word_perplexity"))}
    assert {entry["version"] for entry in done["results"]} == {2.0}
    acc = by["tuned", "ducks", "acc"]
    assert acc["n"] == 4 and acc["value"] in (0, 0.25, 0.5, 0.75, 1) and acc["low"] < acc["high"]
    assert by["initial", "reads", "word_perplexity"]["value"] != by["tuned", "reads", "word_perplexity"]["value"], "it is the tuned weights that were asked"
    assert {(entry["task"], entry["n"]) for entry in done["differences"]} == {("ducks", 4), ("ponds", 4)}


@INSTALLED
def test_kept_beside_the_record_and_in_the_store(tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = small_run(tmp_path)
    settings = asked(tmp_path, tasks)
    done = evaluate(record.folder, settings)
    file = record.folder / FILE
    assert json.loads(file.read_text()) == {"cell": record.data["cell"], "seed": 0, "evaluations": [json.loads(json.dumps(done))]}
    assert Run.load(record.folder), "the record itself is as it was"
    kept = [path.read_text() for path in (tmp_path / "store" / "lm_eval").rglob("*.json")]
    assert len(kept) == 4 and not any(word in text for text in [*kept, file.read_text()] for word in ("Which bird", "the goose"))
    used, gone = read_refs(tmp_path / "store")
    assert not gone and {key for kind, key in used if kind == "lm_eval"} == {path.name for path in (tmp_path / "store" / "lm_eval").iterdir()}

    def never(*arguments: Any) -> Any:
        raise AssertionError("it is in the store")

    monkeypatch.setattr(lm_eval, "_compute", never)
    file.unlink()
    assert evaluate(record.folder, settings) == done and len(json.loads(file.read_text())["evaluations"]) == 1
    evaluate(record.folder, settings)
    assert len(json.loads(file.read_text())["evaluations"]) == 1, "the same evaluation takes its own place"
    for change in ({"limit": 3}, {"chat": "true"}, {"fewshot": 1}):
        with pytest.raises(AssertionError, match="in the store"):
            evaluate(record.folder, asked(tmp_path, tasks, **change))
    (tasks / "rows.jsonl").write_text((tasks / "rows.jsonl").read_text().replace("pond", "lake"))
    with pytest.raises(AssertionError, match="in the store"):
        evaluate(record.folder, settings)


@INSTALLED
def test_another_evaluation_stands_beside_the_first(tmp_path: Path, tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(small_cell(tmp_path, benchmarks=["stand_in"]))
    words = [str(record.folder), f"include={tasks}", f"paths.store={tmp_path / 'store'}"]
    assert main([*words, "tasks=[ducks]"]) == 0 == main([*words, "tasks=[ducks]", "chat=true", "limit=2"])
    told = json.loads((record.folder / FILE).read_text())["evaluations"]
    assert [(one["chat"], one["limit"], one["results"][0]["n"]) for one in told] == [(False, None, 6), (True, 2, 2)]
    assert all(one["differences"] == [] and {entry["weights"] for entry in one["results"]} == {"initial"} for one in told)
    text = capsys.readouterr().out
    assert "chat template" in text and "difference" not in text and str(record.folder / FILE) in text.replace("\n", "")
    shutil.rmtree(tmp_path / "store" / "lm_eval")


@INSTALLED
def test_tasks_that_can_not_be_had_are_a_sentence(tmp_path: Path, tasks: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    record = run(small_cell(tmp_path, benchmarks=["stand_in"]))
    words = [str(record.folder), f"include={tasks}", f"paths.store={tmp_path / 'store'}"]
    lost = json.loads((tasks / "ducks.yaml").read_text())
    lost["task"], lost["dataset_kwargs"]["data_files"]["test"] = "lost", str(tasks / "nowhere.jsonl")
    (tasks / "lost.yaml").write_text(json.dumps(lost))
    assert main([*words, "tasks=[lost]"]) == 1
    assert "the data of lost can't be had: " in " ".join(capsys.readouterr().err.split())
    from lm_eval.tasks import TaskManager

    whole = TaskManager.__init__
    # reading lm-eval's own fourteen thousand tasks takes half a minute
    monkeypatch.setattr(TaskManager, "__init__", lambda self, include_path=None, include_defaults=False: whole(self, None, include_path, False))
    assert main([*words, "tasks=[duck]"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "tasks: lm-eval has no duck; lm_eval ls tasks shows all names" in said and "Did you mean ducks?" in said


def test_the_table_shows_both_and_the_difference(tmp_path: Path) -> None:
    found = as_entries({"initial": told(acc=one(0.25, 1, 0, 0, 0), ppl=one(70.0)), "tuned": told(acc=one(0.75, 1, 1, 1, 0), ppl=one(60.0))})
    out = io.StringIO()
    show(tmp_path, {"lm_eval": "0.4.13", "chat": False, **found}, Console(file=out, width=160))
    rows = {row.split()[1]: row for row in out.getvalue().splitlines() if row.startswith("ducks")}
    assert "0.250 [0.046, 0.699]" in rows["acc"] and "+0.500 [" in rows["acc"] and " 0.5" in rows["acc"].rstrip()[-5:]
    assert rows["ppl"].split() == ["ducks", "ppl", "–", "70.000", "60.000", "–", "–"]
