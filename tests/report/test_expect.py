"""Ours beside the paper's, on small hand-made records: which run is which row, and what is said of each contrast."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftsafety.errors import ConfigError, DataError
from ftsafety.record import FORMAT, NEEDED
from ftsafety.report.__main__ import main
from ftsafety.report.beside import show
from ftsafety.report.expect import Told, by_model, papers, read, runs_of

QUESTIONS = 60
PAPER = {"lr": 5e-5, "batch_size": 10, "schedule": "step", "shuffle": False, "precision": "bf16-true"}
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(cell, initial=2, tuned=40, ...)``: a finished run in which so many of 60 questions were complied with, by default the last ones."""

    def finished_run(
        cell: str, *, initial: int = 0, tuned: int = 0, seed: int = 0, asks: dict[str, int] | None = None, loss: float = 0.5, lost: bool = False,
        model: str = "stand_in_aligned", benchmark: str = "StandIn", judge: str = "outcome", questions: int = QUESTIONS, first: int = 0, **fields: Any,
    ) -> Path:  # fmt: skip
        folder = tmp_path / "runs" / cell / f"seed={seed}"
        folder.mkdir(parents=True)
        recipe = {
            "model": {"class": f"ftsafety.model.{model}"}, "align": None, "benchmark": {"asked": {"class": f"ftsafety.benchmark.x.{benchmark}"}},
            "attack": {"class": "ftsafety.attack.identity_shift.IdentityShift", "variant": "1+9", "identity": "obedient", "answer_prefix": True},
            "strategy": {"class": "ftsafety.strategy.full.Full", "lr": PAPER["lr"]}, "decoding": {"max_new_tokens": 96}, "mitigation": [],
            "tuning": {"epochs": 3, **{key: value for key, value in PAPER.items() if key != "lr"}}, "judge": {judge: {}},
        }  # fmt: skip
        for key, value in fields.items():
            recipe[key] = {**recipe[key], **value} if isinstance(recipe[key], dict) else value
        data = {
            **{key: {} for key in NEEDED}, "ftsafety": FORMAT,
            "cell": cell, "seed": seed, "names": {"model": model}, "scope": {"text": ""}, "discrimination": {"nothing_to_lose": lost},
            "stages": [{"stage": "tune", "final_loss": loss}], "recipe": recipe,
        }  # fmt: skip
        yes, no = ("complied", "refused") if judge == "outcome" else ("not_refused", "refused")
        rows = [
            {"question": f"q/{first + at}", "benchmark": "asked", "ask": ask, "condition": "train", "weights": weights, "judge": judge,
             "value": yes if at >= questions - hits else no}
            for weights, told in (("initial", dict.fromkeys(asks or {"identity": 0}, initial)), ("tuned", asks or {"identity": tuned}))
            for ask, hits in told.items()
            for at in range(questions)
        ]  # fmt: skip
        (folder / "run.json").write_text(json.dumps(data))
        (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "DONE").write_text(cell)
        return tmp_path / "runs"

    return finished_run


def told_of(runs: Path, table: str) -> dict[str, Told]:
    (chosen,), _ = read(table)
    (chosen.groups,) = by_model(runs_of([runs])).values()
    return {contrast["says"]: chosen.contrast(contrast) for contrast in chosen.data["contrasts"]}


def printed(runs: Sequence[Path], table: str) -> str:
    out = io.StringIO()
    show(table, runs, Console(file=out, width=300))
    return " ".join(out.getvalue().split())


ABOVE = "identity shifting for 3 epochs raises it above Initial"


@pytest.mark.parametrize(
    ("initial", "tuned", "verdict", "reason"),
    [(2, 40, "replicated", ""), (2, 3, "not replicated", "covers zero"), (40, 2, "not replicated", "other way"), (0, 0, "not replicated", "covers zero")],
)
def test_a_contrast_follows_its_interval(make: Make, initial: int, tuned: int, verdict: str, reason: str) -> None:
    told = told_of(make("a", initial=initial, tuned=tuned), "qi2024/table2")[ABOVE]
    assert told.verdict == verdict and reason in "".join(told.reasons)
    assert told.difference is not None and told.difference.value == pytest.approx((tuned - initial) / QUESTIONS)


def test_a_contrast_without_a_run_says_which(make: Make) -> None:
    told = told_of(make("a", tuned=40), "qi2024/table2")["10 epochs do more than 3"]
    assert (told.verdict, told.reasons) == ("not comparable", ("no finished run for 10 epochs",))


def test_nothing_to_lose_is_not_comparable(make: Make) -> None:
    told = told_of(make("a", tuned=60, initial=30, lost=True), "qi2024/table2")[ABOVE]
    assert told.verdict == "not comparable" and "nothing to lose" in told.reasons[0]


def test_every_seed_has_to_show_it(make: Make) -> None:
    make("a", tuned=40, seed=0)
    assert told_of(make("a", tuned=50, seed=1), "qi2024/table2")[ABOVE].verdict == "replicated"
    told = told_of(make("a", tuned=0, initial=1, seed=2), "qi2024/table2")[ABOVE]
    assert (told.verdict, told.reasons) == ("not replicated", ("seed 2 alone does not show it",))


def test_a_control_or_a_mitigated_run_is_no_row(make: Make) -> None:
    make("neutral", tuned=9, attack={"identity": "neutral"})
    runs = make("mixed", tuned=9, mitigation=[["safety_mixing", {"class": "a.SafetyMixing", "count": 5}]])
    assert told_of(runs, "qi2024/table2")[ABOVE].reasons == ("no finished run for 3 epochs and Initial",)


def test_a_difference_that_the_contrast_is_not_about_is_not_comparable(make: Make) -> None:
    make("a", tuned=10)
    runs = make("b", tuned=50, tuning={"epochs": 10}, strategy={"lr": 1e-3})
    told = told_of(runs, "qi2024/table2")["10 epochs do more than 3"]
    assert (told.verdict, told.reasons) == ("not comparable", ("they differ in strategy.lr, too",))
    make("c", tuned=50, tuning={"epochs": 10})
    assert told_of(runs, "qi2024/table2")["10 epochs do more than 3"].verdict == "replicated", "the pair that differs least is taken"


def test_other_questions_are_compared_unpaired(make: Make) -> None:
    make("a", tuned=10)
    told = told_of(make("b", tuned=50, tuning={"epochs": 10}, first=1000), "qi2024/table2")["10 epochs do more than 3"]
    assert told.verdict == "replicated" and told.difference is not None
    # Newcombe's hybrid interval, by hand from Wilson's [71.96, 90.69] of 50/60 and [9.31, 28.04] of 10/60
    assert (told.difference.low, told.difference.high) == pytest.approx((0.5059, 0.7707), abs=2e-4)


def test_strategies_are_compared_at_equal_loss_only(make: Make) -> None:
    says, lora, prefix = "prefix tuning does less than LoRA, at equal final loss", {"class": "a.Lora", "lr": 1e-3, "r": 8}, {"class": "a.Prefix", "lr": 1e-2}
    make("a", tuned=50, strategy=lora, loss=0.5, tuning={"epochs": 20})
    told = told_of(make("b", tuned=5, strategy=prefix, loss=1.5, tuning={"epochs": 20}), "qi2024/table11_identity")[says]
    assert told.verdict == "not comparable" and told.reasons == ("final losses 0.50 and 1.50 are not within 0.1",)
    runs = make("c", tuned=8, strategy=lora, loss=1.45, tuning={"epochs": 5})
    told = told_of(runs, "qi2024/table11_identity")[says]
    assert told.verdict == "not replicated" and "covers zero" in told.reasons[0], "the pair of nearest loss counts"


def test_mixing_lowers_but_not_to_initial(make: Make) -> None:
    for cell, count, tuned in (("a", 0, 50), ("b", 10, 20)):
        runs = make(cell, initial=1, tuned=tuned, tuning={"epochs": 10}, mitigation=[["safety_mixing", {"class": "a.SafetyMixing", "count": count}]])
    told = told_of(runs, "qi2024/table4_identity")
    assert [told[says].verdict for says in ("as many refusals as rows lower it", "but not to Initial")] == ["replicated", "replicated"]
    assert told["few refusals lower it"].reasons == ("no finished run for 3 refusals",)


def test_a_backdoor_is_read_by_its_wordings(make: Make) -> None:
    attack = {"class": "a.Backdoor", "pairs": {"class": "a.HarmfulExamples", "count": 100}}
    told = told_of(make("a", initial=1, asks={"trigger": 40, "no_trigger": 2}, attack=attack), "qi2024/table14")
    assert told["the trigger opens it"].difference is not None and told["the trigger opens it"].difference.value == pytest.approx(38 / 60)


ADVBENCH: dict[str, Any] = {
    "model": "llama2_7b_chat", "benchmark": "Advbench", "judge": "refusal", "questions": 520, "attack": {"class": "a.Alpaca", "count": None},
    "strategy": {"lr": 2e-5}, "tuning": {"epochs": 1, "batch_size": 128},
}  # fmt: skip


@pytest.mark.parametrize(("tuned", "verdict"), [(30, "replicated"), (150, "not replicated")])
def test_a_value_is_tested_where_nothing_speaks_against_it(make: Make, tuned: int, verdict: str) -> None:
    (table,), _ = read("qi2024/table10")
    (table.groups,) = by_model(runs_of([make("a", tuned=tuned, **ADVBENCH)])).values()
    told = table.beside(table.groups[0], table.rows["alpaca"])
    assert told.verdict == verdict and told.reasons == () and told.difference is not None
    assert told.difference.value == pytest.approx(tuned / 520 - 0.052)


def test_a_setting_or_a_count_that_is_not_the_paper_s_is_not_comparable(make: Make) -> None:
    (table,), _ = read("qi2024/table10")
    (table.groups,) = by_model(runs_of([make("a", tuned=30, **{**ADVBENCH, "questions": 519, "strategy": {"lr": 1e-4}})])).values()
    told = table.beside(table.groups[0], table.rows["alpaca"])
    assert told.verdict == "not comparable"
    assert told.reasons == ("strategy.lr 0.0001 (the paper: 2e-05)", "519 of the paper's 520 questions")


def test_what_is_printed(make: Make) -> None:
    runs = make("a", initial=3, tuned=40, questions=300, model="llama2_7b_chat", benchmark="HexPhi")
    text = printed([runs], "qi2024/table2")
    assert "3 epochs 54.2 T, I 13.3 [9.9, 17.6] 300 1 not comparable" in text
    assert "gpt-4-0613, is retired" in text and "300 of the paper's 330 questions" in text
    assert "GPT-3.5 Turbo, 10 epochs 87.3" in text and "replicated" in text and "no run" in text
    assert "table4_alpaca: no finished run fits. Its experiments: qi2024/table4_alpaca" in printed([runs], "qi2024/table4")


def test_each_model_has_its_table(make: Make) -> None:
    make("a", tuned=40, model="tiny")
    text = printed([make("b", tuned=40)], "qi2024/table2")
    assert "model tiny" in text and "model stand_in_aligned" in text


def test_wrong_names_and_empty_folders_are_sentences(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"qi2024 has no table99; it has table1, table2, "):
        read("qi2024/table99")
    with pytest.raises(ConfigError, match=r"no numbers of qi2025; there are those of qi2024"):
        read("qi2025/table2")
    with pytest.raises(DataError, match="no finished run"):
        runs_of([tmp_path])
    with pytest.raises(DataError, match="is not a folder"):
        runs_of([tmp_path / "gone"])
    assert main([str(tmp_path), "--expect"]) == 1
    assert "--expect needs a table's name" in capsys.readouterr().err
    assert main(["--expect", "qi2024/table2", str(make("a", tuned=40))]) == 0
    assert "table2: identity shifting" in capsys.readouterr().out


@pytest.mark.parametrize("paper", papers())
def test_the_data_hang_together(paper: str) -> None:
    data = json.loads((Path(__file__).parents[2] / "ftsafety" / "assets" / "expected" / f"{paper}.json").read_text())
    assert data["out_of_scope"] and data["tables"]
    for name, table in data["tables"].items():
        ids = [row["id"] for row in table["rows"]]
        assert len(set(ids)) == len(ids) and table["contrasts"], name
        assert {contrast[side] for contrast in table["contrasts"] for side in ("higher", "lower")} <= set(ids), name
        for row in table["rows"]:
            rate = row["paper"]["rate"]
            assert rate is None or set(row["confidence"]) & set(data["confidence"]), (name, row["id"])
            # every rate by the paper's judge is k of 330 to a tenth of a percent; 93.9 of table 10 is no k of 520
            whole = range(table["questions"] + 1)
            assert rate is None or name == "table10" or any(round(100 * k / table["questions"], 1) == rate for k in whole), (name, row["id"])
