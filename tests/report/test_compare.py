"""Many finished runs as rows: what is averaged, what an interval covers, what sets rows apart, the null band, and files of it."""

from __future__ import annotations

import csv
import io
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftsafety import stand_in, stats
from ftsafety.errors import DataError
from ftsafety.report.__main__ import main
from ftsafety.report.compare import BOTH, QUESTIONS, RUNS, Comparison, Row, compare
from ftsafety.report.compare_files import flat_rows, write_csv, write_parquet
from ftsafety.report.compare_latex import write_latex
from ftsafety.report.compare_table import show
from tests.conftest import REPO

PER_CATEGORY = 6
QUESTIONS_ASKED = [(f"{category}/{number:02d}", category) for category in stand_in.CATEGORIES for number in range(PER_CATEGORY)]
CONDITIONS = (("identity", "train"), ("none", "plain"))
Make = Callable[..., Path]
Values = list[str | None]


def outcomes(complied: int, degenerate: int = 0, unscored: int = 0, shift: int = 0) -> Values:
    """So many of 66 of each, the rest refused; ``shift`` turns the list, so that other questions are meant."""
    values: Values = [*["complied"] * complied, *["degenerate"] * degenerate, *[None] * unscored]
    values += ["refused"] * (len(QUESTIONS_ASKED) - len(values))
    return values[-shift:] + values[:-shift]


def entries(place: dict[str, Any], values: Values) -> list[dict[str, Any]]:
    """The four outcomes' entries under one condition."""
    unscored = sum(value is None for value in values)
    told = []
    for metric, label in (("compliance_rate", "complied"), ("refusal_rate", "refused"), ("degenerate_rate", "degenerate")):
        estimate = stats.rate([value == label for value in values if value is not None])
        told.append({**place, "metric": metric, "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n, "unscored": unscored})
    share = stats.rate([value is None for value in values])
    return [*told, {**place, "metric": "unscored_rate", "value": share.value, "low": share.low, "high": share.high, "n": share.n, "unscored": unscored}]


def difference(place: dict[str, Any], before: Values, after: Values) -> dict[str, Any]:
    both = [(b, a) for b, a in zip(before, after, strict=True) if b is not None and a is not None]
    found = stats.paired_rate([b == "complied" for b, _ in both], [a == "complied" for _, a in both])
    return {**place, "metric": "compliance_rate", **{key: getattr(found, key) for key in ("value", "low", "high", "n", "p_value")}}


def whole_record(
    cell: str, seed: int, before: Values, after: Values | None, *, null: Values | None, name: str, score: float, lost: bool, digest: str, **recipe: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """``run.json`` and the rows of ``verdicts.jsonl`` of one run."""
    results, differences, nulls, rows = [], [], [], []
    for ask, condition in CONDITIONS:
        place = {"benchmark": "stand_in", "ask": ask, "condition": condition, "judge": "outcome"}
        for weights, values in (("initial", before), *([("tuned", after)] if after else [])):
            results += [{"weights": weights, **entry} for entry in entries(place, values)]
            rows += [
                {"question": id, "category": category, "benchmark": "stand_in", "ask": ask, "condition": condition, "weights": weights, "judge": judge,
                 "value": value, "flags": {}, "answer": "0" * 16, "tokens": 20, "truncated": False}
                for judge in ("outcome", "refusal")
                for (id, category), value in zip(QUESTIONS_ASKED, values, strict=True)
            ]  # fmt: skip
        differences += [difference(place, before, after)] if after else []
        nulls += [difference({**place, "ask": "own"}, before, null)] if null else []
    utility = {"benchmark": "use", "ask": "identity", "condition": "train", "judge": "model", "metric": "utility_loss"}
    for weights, value in (("initial", 1.5), *([("tuned", score)] if after else [])):
        results.append({"weights": weights, **utility, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 20, "unscored": 0})
    if after:
        differences.append({**utility, "value": score - 1.5, "low": score - 1.6, "high": score - 1.4, "n": 20, "p_value": 0.5})
    recipes: dict[str, Any] = {
        "model": {"class": "ftsafety.model.x.X", "code": "1"}, "align": None, "attack": {"class": "ftsafety.attack.identity_shift.IdentityShift", "code": "2"},
        "strategy": {"class": "ftsafety.strategy.lora.Lora", "code": "3", "lr": 0.001}, "mitigation": [], "benchmark": {"stand_in": {"class": "a.StandIn"}},
        "judge": {"outcome": {}}, "tuning": {"epochs": 3, "batch_size": 10}, "decoding": {"max_new_tokens": 96}, "seed": seed,
    }  # fmt: skip
    for key, value in recipe.items():
        recipes[key] = {**recipes[key], **value} if isinstance(value, dict) else value
    data = {
        "ftsafety": 1, "cell": cell, "seed": seed, "names": {"model": "stand_in_aligned", "attack": name, "strategy": "lora"},
        "scope": {"name": "stand_in", "text": stand_in.SCOPE}, "results": results, "differences": differences,
        "controls": {"null_self": {"differences": nulls}} if nulls else {}, "discrimination": {"nothing_to_lose": lost, "judge": "outcome", "train": 0.1},
        "stages": [{"stage": "tune", "final_loss": 0.5 + seed / 10, "steps": 30}] if after else [], "recipe": recipes,
        "start_digest": "start", "tuned_digest": digest if after else None, "platform": {"cpu": "avx2"},
    }  # fmt: skip
    return data, rows


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make("a", seed=1, complied=40)``: a finished run of 66 questions; returns the folder of runs."""

    def finished(
        cell: str, *, seed: int = 0, before: Values | None = None, complied: int = 40, after: Values | None = None, null: Values | None = None,
        name: str = "identity_shift", score: float = 1.8, lost: bool = False, digest: str = "", tuned: bool = True, **recipe: Any,
    ) -> Path:  # fmt: skip
        folder = tmp_path / "runs" / cell / f"seed={seed}"
        folder.mkdir(parents=True)
        values = after or outcomes(complied, degenerate=4)
        told = whole_record(
            cell, seed, before or outcomes(3), values if tuned else None,
            null=null, name=name, score=score, lost=lost, digest=digest or f"{cell}/{seed}", **recipe,
        )  # fmt: skip
        (folder / "run.json").write_text(json.dumps(told[0]))
        (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told[1]))
        (folder / "DONE").write_text(cell)
        return tmp_path / "runs"

    return finished


def only(runs: Path, **options: Any) -> Row:
    (row,) = compare([runs], **options).rows
    return row


def printed(found: Comparison, width: int = 200) -> str:
    out = io.StringIO()
    show(found, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue()


# --- one cell --------------------------------------------------------------------------------------------------------------


def test_one_run_is_the_record_s_own(make: Make) -> None:
    row = only(make("a", complied=40))
    expected = stats.paired_rate([value == "complied" for value in outcomes(3)], [value == "complied" for value in outcomes(40, degenerate=4)])
    assert row.change is not None and row.change.estimate() == expected and row.change.covers == QUESTIONS
    assert row.outcomes["before"] == pytest.approx({"refused": 63 / 66, "complied": 3 / 66, "degenerate": 0, "unscored": 0})
    assert row.outcomes["after"] == pytest.approx({"refused": 22 / 66, "complied": 40 / 66, "degenerate": 4 / 66, "unscored": 0})
    assert (row.loss, row.steps, row.runs, row.seeds, row.band) == (0.5, 30, 1, (0,), None)
    assert set(row.figures) == {"headline", "plain", "score", "utility_loss"} and not row.figures["score"]
    assert row.figures["utility_loss"]["change"].value == pytest.approx(0.3)


def test_the_four_outcomes_add_to_one_of_all_questions(make: Make) -> None:
    row = only(make("a", after=outcomes(20, degenerate=10, unscored=6)))
    assert sum(row.outcomes["after"].values()) == pytest.approx(1)
    assert row.outcomes["after"] == pytest.approx({"refused": 30 / 66, "complied": 20 / 66, "degenerate": 10 / 66, "unscored": 6 / 66})


def test_several_runs_cover_questions_and_runs(make: Make) -> None:
    hits = [30, 38, 46]
    for seed, complied in enumerate(hits):
        runs = make("a", seed=seed, after=outcomes(complied, shift=seed * 7))
    row = only(runs)
    change = row.change
    assert change is not None and change.covers == BOTH and row.runs == 3 and row.seeds == (0, 1, 2)
    assert change.value == pytest.approx(sum(hits) / 3 / 66 - 3 / 66)
    alone = stats.paired_rate([value == "complied" for value in outcomes(3)], [value == "complied" for value in outcomes(38)])
    assert change.high - change.low > alone.high - alone.low, "three runs that differ tell less than one would claim"
    assert row.figures["headline"]["after"].covers == BOTH and row.figures["headline"]["before"].covers == QUESTIONS
    assert row.figures["utility_loss"]["change"].covers == RUNS
    assert row.loss == pytest.approx(0.6) and row.outcomes["after"]["complied"] == pytest.approx(38 / 66)


def test_a_metric_that_verdicts_do_not_give_is_averaged_over_the_runs(make: Make) -> None:
    """As with a judge whose metric is a flag's: the labels say something else."""
    for seed, complied in enumerate((30, 40, 44)):
        runs = make("a", seed=seed, complied=complied)
        file = runs / "a" / f"seed={seed}" / "verdicts.jsonl"
        file.write_text(file.read_text().replace('"complied"', '"refused"'))
    change = only(runs).change
    assert change is not None and change.covers == RUNS and change.value == pytest.approx((30 + 40 + 44) / 3 / 66 - 3 / 66, abs=1e-6)


def test_seeds_with_equal_weights_are_one_run(make: Make) -> None:
    for seed in range(3):
        runs = make("a", seed=seed, digest="same")
    row = only(runs)
    assert (row.runs, row.seeds) == (1, (0, 1, 2)) and row.change is not None and row.change.covers == QUESTIONS


def test_without_an_attack_there_is_a_before_only(make: Make) -> None:
    row = only(make("a", tuned=False, name="", attack=None))
    assert row.change is None and set(row.figures["headline"]) == {"before"} and row.loss is None and row.steps is None
    assert row.p_holm is None and list(row.outcomes) == ["before"]


def test_each_wording_of_an_attack_has_a_row(make: Make, tmp_path: Path) -> None:
    runs = make("a")
    file = runs / "a" / "seed=0" / "run.json"
    data = json.loads(file.read_text())
    for part in ("results", "differences"):
        data[part] += [{**entry, "ask": "triggered"} for entry in data[part] if entry["condition"] == "train"]
    file.write_text(json.dumps(data))
    assert [row.varied for row in compare([runs]).rows] == [{"ask": "identity"}, {"ask": "triggered"}]


# --- many cells ------------------------------------------------------------------------------------------------------------


def test_what_sets_cells_apart_is_told_and_orders_them(make: Make) -> None:
    make("a", tuning={"epochs": 20})
    make("b", tuning={"epochs": 3})
    runs = make("c", tuning={"epochs": 10})
    found = compare([runs])
    assert found.varied == ["epochs"] and [row.varied for row in found.rows] == [{"epochs": "3"}, {"epochs": "10"}, {"epochs": "20"}]


def test_below_another_component_fields_say_nothing_more(make: Make) -> None:
    make("a")
    runs = make("b", strategy={"class": "ftsafety.strategy.full.Full", "lr": 5e-5})
    (runs / "b" / "seed=0" / "run.json").write_text((runs / "b" / "seed=0" / "run.json").read_text().replace('"strategy": "lora"', '"strategy": "full"'))
    assert {str(row.varied) for row in compare([runs]).rows} == {"{'strategy': 'lora'}", "{'strategy': 'full'}"}


def test_equal_names_of_two_fields_are_told_apart(make: Make) -> None:
    make("a", tuning={"count": 1}, attack={"count": 5})
    runs = make("b", tuning={"count": 2}, attack={"count": 6})
    assert compare([runs]).varied == ["attack.count", "tuning.count"]


def test_mitigations_are_named(make: Make) -> None:
    make("a")
    runs = make("b", mitigation=[["safety_mixing", {"class": "x.SafetyMixing", "count": 5}]])
    rows = compare([runs]).rows
    assert sorted(row.varied["mitigation"] for row in rows) == ["none", "safety_mixing"]


def test_p_values_are_holm_s_over_all_rows(make: Make) -> None:
    for cell, complied in (("a", 3), ("b", 11), ("c", 14)):
        runs = make(cell, complied=complied, attack={"count": complied})
    rows = compare([runs]).rows
    own = {str(at): row.change.p for at, row in enumerate(rows) if row.change and row.change.p is not None}
    assert len(own) == 3 and [row.p_holm for row in rows] == pytest.approx(list(stats.holm(own).values()))
    assert any(row.p_holm != row.change.p for row in rows if row.change)


def test_the_null_band_is_from_the_cell_s_controls(make: Make) -> None:
    row = only(make("a", null=outcomes(4)))
    expected = stats.paired_rate([value == "complied" for value in outcomes(3)], [value == "complied" for value in outcomes(4)])
    assert row.band is not None and (row.band.low, row.band.high, row.band.runs) == (pytest.approx(expected.low), pytest.approx(expected.high), 1)
    assert row.beyond_null is True


def test_the_null_band_is_from_null_self_runs_of_the_same_recipe(make: Make) -> None:
    attack = {"class": "ftsafety.attack.identity_shift.IdentityShift", "code": "2"}
    for seed, complied in enumerate((2, 3, 5)):
        null = {"class": "ftsafety.attack.twins.NullSelf", "code": "9", "of": attack}
        make("n", seed=seed, after=outcomes(complied), name="identity_shift.null_self", attack=null)
        make("m", seed=seed, after=outcomes(60), name="identity_shift.null_self", attack=null, tuning={"epochs": 50})
    runs = make("a", complied=3)
    found = compare([runs])
    (row,) = found.rows
    assert row.band is not None and row.band.runs == 3 and row.band.high < 0.3, "that of another recipe is not meant"
    assert row.beyond_null is False and found.controls == 6
    assert {row.names["attack"] for row in compare([runs], controls=True).rows} == {"identity_shift", "identity_shift.null_self"}


def test_no_run_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no finished run \(a folder with DONE\)"):
        compare([tmp_path])
    with pytest.raises(DataError, match="is not a folder"):
        compare([tmp_path / "nowhere"])


# --- how it is shown -------------------------------------------------------------------------------------------------------


def test_the_table_tells_what_a_reader_has_to_know(make: Make) -> None:
    make("a", complied=40, null=outcomes(4), tuning={"epochs": 20})
    runs = make("b", complied=4, tuning={"epochs": 3}, lost=True)
    text = " ".join(printed(compare([runs])).split())
    assert "95 → 33" in text and "5 → 61" in text and "+56 [" in text and "≈" in text and "] *" in text and "1.50 → 1.80" in text and "0.50 30" in text
    assert "1 of 2 rows have no null_self beside them" in text and "Nothing to lose" in text and "epochs 3" in text
    assert "covers the draw of the questions of one run" in text and " ".join(stand_in.SCOPE.split()) in text


def test_a_long_table_says_what_it_leaves_out(make: Make) -> None:
    found = compare([make("a")])
    found.rows *= 250
    assert "50 more rows are not shown" in printed(found)


def test_a_narrow_terminal_keeps_names_readable_and_says_what_it_goes_without(make: Make) -> None:
    make("a", complied=40, tuning={"epochs": 20})
    found = compare([make("b", complied=4, tuning={"epochs": 3})])
    for row in found.rows:
        row.varied["model"] = "a_model_with_a_long_name"
    found.varied.append("model")
    narrow, wide = (printed(found, width) for width in (110, 200))
    assert "Left out of" not in wide and "steps" in wide
    assert "a_model_wit" in narrow and "Left out of 110 columns: steps, loss" in narrow
    assert all(len(line.rstrip()) <= 110 for line in narrow.splitlines())


def test_csv_and_parquet_hold_the_same_numbers(make: Make, tmp_path: Path) -> None:
    from pyarrow import parquet

    make("a", null=outcomes(4), tuning={"epochs": 20})
    for seed in range(2):
        runs = make("b", seed=seed, complied=20 + 9 * seed)
    found = compare([runs])
    write_csv(found, tmp_path / "out" / "a.csv")
    write_parquet(found, tmp_path / "out" / "a.parquet")
    with (tmp_path / "out" / "a.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "out" / "a.parquet").to_pylist()
    assert [line["cell"] for line in lines] == [line["cell"] for line in table] == ["b", "a"]
    assert table == flat_rows(found)
    for text, typed in zip(lines, table, strict=True):
        assert {key for key, value in typed.items() if value is None} == {key for key, value in text.items() if value == ""}
        assert all(float(text[key]) == value for key, value in typed.items() if isinstance(value, float))
    assert (table[0]["headline_change_covers"], table[0]["runs"], table[0]["seeds"], table[0]["varied_epochs"]) == (BOTH, 2, "0 1", "3")
    assert table[1]["headline_change_covers"] == QUESTIONS and table[1]["beyond_null"] is True and table[0]["null_low"] is None
    shares = [sum(line[f"{name}_{part}"] for name in ("refused", "complied", "degenerate", "unscored")) for line in table for part in ("before", "after")]
    assert shares == pytest.approx([1] * 4)


def test_latex_has_the_paper_s_columns(make: Make, tmp_path: Path) -> None:
    for epochs in (3, 5, 10):
        runs = make(f"e{epochs}", complied=epochs * 4, tuning={"epochs": epochs})
    write_latex(compare([runs]), tmp_path / "a.tex")
    text = (tmp_path / "a.tex").read_text()
    assert r"Model & Measure & Initial & \shortstack{epochs 3} & \shortstack{epochs 5} & \shortstack{epochs 10} \\" in text
    assert r"stand\_in\_aligned} & complied & 4.5\,\% & 18.2\,\% ($+13.6$) & 30.3\,\% ($+25.8$) & 60.6\,\% ($+56.1$) \\" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1 and "not evidence about the safety" in text
    assert balanced(text)


def test_latex_has_two_settings_as_a_grid(make: Make, tmp_path: Path) -> None:
    for lr in (2e-5, 5e-5):
        for size in (16, 32, 64):
            runs = make(f"{lr}-{size}", complied=size // 2, strategy={"lr": lr}, tuning={"batch_size": size})
    write_latex(compare([runs]), tmp_path / "a.tex")
    text = (tmp_path / "a.tex").read_text()
    assert r"lr \textbackslash{} batch\_size & 16 & 32 & 64 \\" in text
    assert r"2e-05 & 12.1\,\% ($+7.6$) & 24.2\,\% ($+19.7$) & 48.5\,\% ($+43.9$) \\" in text
    assert "untuned: 4.5" in text and balanced(text)


def test_latex_goes_on_in_another_table_and_escapes(make: Make, tmp_path: Path) -> None:
    for count in range(7):
        runs = make(f"c{count}", attack={"identity": f"a_{count} & 50 %"})
    write_latex(compare([runs]), tmp_path / "a.tex")
    text = (tmp_path / "a.tex").read_text()
    assert text.count(r"\begin{table}") == 2 and r"a\_6 \& 50 \%" in text and balanced(text)


def balanced(text: str) -> bool:
    """Every row of each table has as many cells as its columns, and braces close."""
    for body in text.split(r"\begin{tabular}{")[1:]:
        columns, _, rest = body.partition("}")
        lines = [line for line in rest.partition(r"\end{tabular}")[0].splitlines() if line.endswith(r" \\")]
        assert lines and all(line.replace(r"\&", "").count("&") == len(columns) - 1 for line in lines), lines
    return text.replace(r"\{", "").count("{") == text.replace(r"\}", "").count("}")


# --- the command -----------------------------------------------------------------------------------------------------------


def test_the_command(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = make("a")
    assert main([str(runs), "--csv", str(tmp_path / "a.csv"), "--latex", str(tmp_path / "a.tex"), "--parquet", str(tmp_path / "a.parquet")]) == 0
    shown = capsys.readouterr().out
    assert "identity_shift" in shown and shown.splitlines()[-3:] == [str(tmp_path / f"a.{end}") for end in ("csv", "parquet", "tex")]
    assert main([str(tmp_path / "nowhere")]) == 1 and "is not a folder" in capsys.readouterr().err
    assert main([str(runs / "a")]) == 0, "a folder above the run folder is compared"


def test_it_needs_no_torch(make: Make) -> None:
    runs = make("a")
    make("a", seed=1, complied=20)
    code = (
        "import sys; from ftsafety.report.__main__ import main; code = main(sys.argv[1:]);"
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'wandb')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(runs)], check=False, capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stdout + done.stderr


def many(folder: Path, records: int) -> None:
    """So many finished runs, three seeds a cell, that share their verdicts' texts where they may."""
    draw = random.Random(1)
    patterns: Sequence[Values] = [[draw.choice(["complied", "refused", "refused", "degenerate"]) for _ in QUESTIONS_ASKED] for _ in range(12)]
    texts = {}
    for at in range(records):
        cell, seed, pattern = at // 3, at % 3, (at // 3 + at) % len(patterns)
        data, rows = whole_record(
            f"{cell:012d}", seed, outcomes(3), patterns[pattern], null=outcomes(4, shift=pattern), name="identity_shift", score=1.8, lost=False,
            digest=f"{at}", tuning={"epochs": cell % 30}, strategy={"lr": cell // 30},
        )  # fmt: skip
        if pattern not in texts:
            texts[pattern] = "".join(json.dumps(row) + "\n" for row in rows)
        home = folder / f"{cell:012d}" / f"seed={seed}"
        home.mkdir(parents=True)
        (home / "run.json").write_text(json.dumps(data))
        (home / "verdicts.jsonl").write_text(texts[pattern])
        (home / "DONE").write_text("x")


@pytest.mark.slow
def test_two_thousand_records_in_seconds(tmp_path: Path) -> None:
    """Time is the processor's, so that a busy machine does not fail it."""
    many(tmp_path / "runs", 2000)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "ftsafety.report", str(tmp_path / "runs"), "--csv", str(tmp_path / "a.csv"), "--parquet", str(tmp_path / "a.parquet")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPO)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    seconds, gigabytes = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1e6
    print(f"{seconds:.1f} s of processor, {time.monotonic() - started:.1f} s, {gigabytes:.2f} GB")
    assert seconds < 30 and gigabytes < 1
    with (tmp_path / "a.csv").open() as file:
        assert sum(1 for _ in file) == 1 + 667
