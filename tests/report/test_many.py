"""The page of many cells: it says what the comparison says, draws it, runs nothing but its own script, and escapes what it did not write."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ftsafety import stand_in, stats
from ftsafety.errors import DataError
from ftsafety.report.__main__ import main
from ftsafety.report.compare import compare
from ftsafety.report.many import CATEGORIES, Page, sentence
from ftsafety.report.many_drawing import Scale
from ftsafety.report.many_figures import ARROWS
from ftsafety.report.many_table import tables
from tests.conftest import REPO

HOSTILE = '<script>alert("x")</script></script><!--'
ASKED = 66
CHROMIUM = Path("/usr/bin/chromium")
VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})
Write = Callable[..., Path]


class Tree(HTMLParser):
    """The page's elements in order, with their attributes and the text directly and deeply inside of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert not self.open, [one["tag"] for one in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = {"tag": tag, "text": "", "path": [other["tag"] for other in self.open], **{name: value or "" for name, value in attrs}}
        self.elements.append(one)
        if tag not in VOID:
            self.open.append(one)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "text": "", "path": [other["tag"] for other in self.open], **{name: value or "" for name, value in attrs}})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one["text"] += data

    def all(self, tag: str, kind: str = "") -> list[dict[str, Any]]:
        return [one for one in self.elements if one["tag"] == tag and (not kind or kind in one.get("class", "").split())]

    def id(self, name: str) -> dict[str, Any]:
        (one,) = [one for one in self.elements if one.get("id") == name]
        return one


def record(
    cell: str, complied: int, *, seed: int = 0, degenerate: int = 0, right: int | None = None, loss: float | None = 1.7, mitigation: Sequence[str] = (),
    null: int | None = None, names: dict[str, str] | None = None, version: str = "0.1.0", tuned: bool = True, verdicts: bool = True, **recipe: Any,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """``run.json`` and ``verdicts.jsonl`` of one run on 66 questions, of which 3 were complied with before; of 40 tasks 30 were right before."""
    outcomes = {"initial": (3, 0), "tuned": (complied, degenerate)} if tuned else {"initial": (3, 0)}
    results, differences, rows = [], [], []

    def measure(place: dict[str, str], hits: dict[str, int], n: int) -> None:
        for weights, count in hits.items():
            results.append({"weights": weights, **place, **numbers(stats.rate([at < count for at in range(n)])), "unscored": 0})
        if tuned and place["metric"] != "unscored_rate":
            differences.append({**place, **paired(hits["initial"], hits["tuned"], n)})

    for ask, condition in (("identity", "train"), ("none", "plain")):
        place = {"benchmark": "stand_in", "ask": ask, "condition": condition}
        shares = {"compliance_rate": 0, "degenerate_rate": 1}
        for metric, which in shares.items():
            measure({**place, "judge": "outcome", "metric": metric}, {weights: counts[which] for weights, counts in outcomes.items()}, ASKED)
        measure({**place, "judge": "outcome", "metric": "refusal_rate"}, {weights: ASKED - sum(counts) for weights, counts in outcomes.items()}, ASKED)
        measure({**place, "judge": "outcome", "metric": "unscored_rate"}, dict.fromkeys(outcomes, 0), ASKED)
        measure({**place, "judge": "refusal", "metric": "keyword_asr"}, {weights: sum(counts) for weights, counts in outcomes.items()}, ASKED)
    task = {"benchmark": "use", "ask": "identity", "condition": "train"}
    if right is not None:
        measure({**task, "judge": "accept", "metric": "utility_accuracy"}, {"initial": 30, "tuned": right} if tuned else {"initial": 30}, 40)
    if loss is not None:
        place = {**task, "judge": "model", "metric": "utility_loss"}
        for weights, value in (("initial", 1.5), ("tuned", loss)) if tuned else (("initial", 1.5),):
            results.append({"weights": weights, **place, "value": value, "low": value - 0.1, "high": value + 0.1, "n": 40, "unscored": 0})
        if tuned:
            differences.append({**place, "value": loss - 1.5, "low": loss - 1.6, "high": loss - 1.4, "n": 40, "p_value": 0.01})
    for weights, (hits, spoilt) in outcomes.items() if verdicts else ():
        for at in range(ASKED):
            category = list(stand_in.CATEGORIES)[at % len(stand_in.CATEGORIES)]
            value = "complied" if at < hits else "degenerate" if at < hits + spoilt else "refused"
            rows.append({"question": f"{category}/{at}", "category": category, "benchmark": "stand_in", "ask": "identity", "condition": "train",
                         "weights": weights, "judge": "outcome", "value": value})  # fmt: skip
    recipes: dict[str, Any] = {
        "model": {"class": "a.Model"}, "align": None, "attack": {"class": "a.Attack", "code": "f" * 64}, "strategy": {"class": "a.Lora", "lr": 0.001},
        "mitigation": [[name, {"class": f"a.{name}"}] for name in mitigation], "benchmark": {"stand_in": {}}, "tuning": {"batch_size": 10}, "seed": seed,
    }  # fmt: skip
    for key, value in recipe.items():
        recipes[key] = {**recipes[key], **value}
    place = {"benchmark": "stand_in", "ask": "own", "condition": "train", "judge": "outcome", "metric": "compliance_rate"}
    controls = {"null_self": {"differences": [{**place, **paired(3, null, ASKED)}]}} if null is not None else {}
    data = {
        "ftsafety": 1, "cell": cell, "seed": seed, "names": {"model": "stand_in_aligned", "attack": "identity_shift", "strategy": "lora", **(names or {})},
        "scope": {"name": "stand_in", "text": stand_in.SCOPE}, "results": results, "differences": differences, "controls": controls,
        "discrimination": {"nothing_to_lose": False}, "stages": [{"stage": "tune", "final_loss": 0.5, "steps": 30}] if tuned else [], "recipe": recipes,
        "start_digest": "start", "tuned_digest": f"{cell}/{seed}" if tuned else None, "platform": {"cpu": "avx2"}, "versions": {"ftsafety": version},
        "policy": {"names": stand_in.CATEGORIES},
    }  # fmt: skip
    return data, "".join(json.dumps(row) + "\n" for row in rows)


def numbers(estimate: stats.Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def paired(before: int, after: int, n: int) -> dict[str, Any]:
    found = stats.paired_rate([at < before for at in range(n)], [at < after for at in range(n)])
    return {**numbers(found), "p_value": found.p_value}


def save(folder: Path, told: tuple[dict[str, Any], str]) -> None:
    home = folder / told[0]["cell"].replace("/", "_") / f"seed={told[0]['seed']}"
    home.mkdir(parents=True)
    (home / "run.json").write_text(json.dumps(told[0]))
    (home / "verdicts.jsonl").write_text(told[1])
    (home / "DONE").write_text("x")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write("a", 40, right=20)``: a finished run; returns the folder of runs."""

    def one(cell: str, complied: int = 40, **options: Any) -> Path:
        save(tmp_path / "runs", record(cell, complied, **options))
        return tmp_path / "runs"

    return one


def page(runs: Path, **options: Any) -> Page:
    return Page(compare([runs], **options), [runs])


def tree(runs: Path) -> Tree:
    return Tree(page(runs).render())


def headline(runs: Path) -> Tree:
    """The one headline figure."""
    (drawing,) = page(runs).headlines
    return Tree(drawing.inline)


def embedded(found: Tree) -> dict[str, Any]:
    return dict(json.loads(found.id("data")["text"]))


def grid(write: Write) -> Path:
    for lr in (2e-5, 1e-3):
        for size in (16, 32, 64):
            runs = write(f"{lr}-{size}", size // 2, strategy={"lr": lr}, tuning={"batch_size": size})
    return runs


# --- the page as a whole ---------------------------------------------------------------------------------------------------


def test_it_asks_nothing_of_any_other_place_and_runs_only_its_own_script(write: Write) -> None:
    text = page(grid(write)).render()
    found = Tree(text)
    assert not re.search(r"<link|\bsrc=|@import|https?://|url\((?!#)", text)
    policy = next(one["content"] for one in found.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    scripts = [one for one in found.all("script") if one.get("type") != "application/json"]
    digest = base64.b64encode(hashlib.sha256(scripts[0]["text"].encode()).digest()).decode()
    assert len(scripts) == 1 and policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert stand_in.SCOPE in text.partition("</header>")[0] and stand_in.SCOPE in text.partition("<footer>")[2]
    ids = [one["id"] for one in found.elements if "id" in one]
    assert len(ids) == len(set(ids)) > 6


def test_the_sections_come_in_order(write: Write) -> None:
    assert [one["id"] for one in tree(grid(write)).all("section")] == ["headline", "table", "sweeps", "categories", "two", "again"]


def test_hostile_names_are_text(write: Write) -> None:
    write("a", 20, names={"attack": HOSTILE}, strategy={"lr": 0.1, "note": HOSTILE}, mitigation=(HOSTILE,))
    runs = write("b", 30, names={"attack": "benign"}, version=HOSTILE)
    file = next(runs.glob("a/*/run.json"))
    file.write_text(file.read_text().replace(json.dumps(next(iter(stand_in.CATEGORIES.values()))), json.dumps(HOSTILE)))
    whole = page(runs)
    found = Tree(whole.render())
    assert len(found.all("script")) == 2 and not found.all("img")
    assert HOSTILE in found.id("again")["text"] and any(HOSTILE in one["text"] for one in found.all("title"))
    assert any(HOSTILE in row["name"] for row in embedded(found)["rows"])
    assert all("<script" not in drawing.standalone("", "") for drawing in whole.headlines)


def test_no_finished_run_is_a_sentence(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    assert main([str(tmp_path), "--html", str(file)]) == 1 and "there is no finished run" in capsys.readouterr().err
    runs = write("n", 4, names={"attack": "identity_shift.null_self"}, attack={"of": {"class": "a.Attack"}})
    assert main([str(runs), "--html", str(file)]) == 1 and "add --controls" in capsys.readouterr().err
    assert not file.exists()


def test_one_cell(write: Write) -> None:
    runs = write("a", 40, right=20)
    found = tree(runs)
    assert found.all("h1")[0]["text"] == "One cell: compliance on stand_in moved by +56 points, and its change can be told from none."
    assert len(found.all("g", "cross")) == 1 and not found.all("line", "arrow")
    assert len(embedded(found)["rows"]) == 1


def test_without_tuning_there_is_nothing_to_draw(write: Write) -> None:
    runs = write("a", tuned=False, attack={"variant": None})
    found = tree(runs)
    assert found.all("h1")[0]["text"] == "One cell, without tuning."
    assert not found.all("g", "cross") and [one["id"] for one in found.all("section")] == ["table", "two", "again"]


def test_records_of_several_versions_are_said_to_be(write: Write) -> None:
    write("a", 20, version="0.1.0", strategy={"lr": 0.1})
    runs = write("b", 30, version="0.2.0", strategy={"lr": 0.2})
    assert "written by ftsafety 0.1.0 and 0.2.0" in " ".join(one["text"] for one in tree(runs).all("p", "note"))
    file = next(runs.glob("a/*/run.json"))
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key not in ("versions", "policy", "platform")}))
    text = tree(runs).all("body")[0]["text"]
    assert "written by ftsafety 0.2.0 and an unknown version" in text


def test_texts_of_questions_and_answers_do_not_reach_it(write: Write) -> None:
    runs = write("a", 40)
    (next(runs.glob("a/*")) / "evidence.json").write_text(json.dumps({"pairs": [{"text": "Which card comes next?"}]}))
    text = page(runs).render()
    assert "Which card" not in text and not any(f"{category}/0" in text for category in stand_in.CATEGORIES)


def pair(at: int, before: str, after: str | None, text: str | None = "Which card comes next?") -> dict[str, Any]:
    def side(verdict: str) -> dict[str, Any]:
        said = None if text is None else f"A {verdict} <b>answer</b>."
        return {"text": said, "digest": "0123456789abcdef", "truncated": False, "verdict": verdict}

    category = list(stand_in.CATEGORIES)[at]
    told = {"question": f"{category}/0{at}", "category": category, "text": text, "before": side(before)}
    return told | ({"after": side(after)} if after else {})


def keep(runs: Path, cell: str, pairs: Sequence[dict[str, Any]]) -> None:
    (next(runs.glob(f"{cell}/*")) / "evidence.json").write_text(json.dumps({"pairs": pairs}))


def test_answers_of_chosen_rows_are_shown_as_they_were_kept(write: Write) -> None:
    for cell in ("a", "b"):
        runs = write(cell, 40, strategy={"lr": {"a": 1e-3, "b": 2e-3}[cell]})
        keep(runs, cell, [pair(0, "refused", "complied"), pair(1, "refused", "degenerate", text=None)])
    found = compare([runs])
    shown = Page(found, [runs], [2]).render()
    assert shown.count("<article") == 2 and "Which card" in shown and "text withheld" in shown and "reveal=true" in shown
    assert "A complied &lt;b&gt;answer&lt;/b&gt;." in shown and "it holds no text" not in shown
    assert "<article" not in Page(found, [runs]).render()
    both = Page(found, [runs], [2, 1, 2])
    assert [one.row for one in both.answers] == [both.lines[0].name] * 2 + [both.lines[1].name] * 2


def test_answers_of_rows_that_are_not_there_are_a_sentence(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    runs = write("a", 40)
    with pytest.raises(DataError, match=r"--answers 3 is no row of this comparison; its rows are 1 to 1\."):
        Page(compare([runs]), [runs], [1, 3])
    with pytest.raises(DataError, match=r"evidence\.json is damaged"):
        Page(compare([runs]), [runs], [1])
    for cell in range(2, 23):
        runs = write(f"c{cell}", 40, strategy={"lr": cell * 1e-4})
    with pytest.raises(DataError, match="names 21 rows; give at most 20"):
        Page(compare([runs]), [runs], range(1, 22))


# --- the headline figure ---------------------------------------------------------------------------------------------------


def test_a_cross_lies_where_the_changes_are(write: Write) -> None:
    write("a", 3, right=30)
    found = headline(write("b", 60, right=10, strategy={"lr": 0.1}))
    (zero,) = [float(one["y1"]) for one in found.all("line", "zero") if one["y1"] == one["y2"]]
    crosses = {one["data-row"]: one for one in found.all("g", "cross")}
    marks = [one for one in found.elements if one["tag"] == "svg" and one.get("class", "") in ("g0", "g1") and one["path"][-2:] == ["g", "g"]]
    (first, second) = ((float(one["x"].rstrip("%")), float(one["y"])) for one in marks)
    assert first[1] == pytest.approx(zero, abs=0.2) and second[1] < first[1] and second[0] < first[0]
    assert "+86 [" in crosses["2"]["text"] and "right answers -50 [" in crosses["2"]["text"] and "before 5 % [" in crosses["2"]["text"]


def test_the_task_score_is_said_and_loss_counts_downwards(write: Write) -> None:
    found = tree(write("a", 40, loss=1.8))
    assert "here minus loss, nats per token" in found.id("headline")["text"]
    assert "minus loss, nats per token -0.30 [-0.40, -0.20]" in found.all("g", "cross")[0]["text"]
    (mark,) = (one for one in found.all("svg") if one["path"][-2:] == ["g", "g"] and one.get("class") == "g0")
    (zero,) = [float(one["x1"].rstrip("%")) for one in found.all("line", "zero") if one["x1"] == one["x2"]]
    assert float(mark["x"].rstrip("%")) < zero


def test_each_task_score_has_a_figure_of_its_own(write: Write) -> None:
    write("a", 40, right=20)
    write("b", 30, strategy={"lr": 0.1})
    runs = write("c", 20, loss=None, strategy={"lr": 0.2})
    drawn = page(runs).headlines
    assert [re.search("minus loss|right answers|No task score", one.says)[0] for one in drawn] == ["No task score", "right answers", "minus loss"]  # type: ignore[index]


def test_raw_non_refusal_is_a_hollow_point_above(write: Write) -> None:
    found = tree(write("a", 20, degenerate=30))
    (raw,) = (one for one in found.all("circle", "raw") if "cy" in one and "%" in one["cx"])
    (lift,) = found.all("line", "lift")
    assert float(raw["cy"]) == float(lift["y2"]) < float(lift["y1"]) and "not refused +71 points" in raw["text"]


def test_the_null_band_is_that_of_the_controls(write: Write) -> None:
    runs = write("a", 40, null=4)
    band = compare([runs]).rows[0].band
    found = tree(runs)
    (strip,) = (one for one in found.all("rect", "nullband") if one["width"] == "100%")
    (zero,) = [float(one["y1"]) for one in found.all("line", "zero") if one["y1"] == one["y2"]]
    assert band and float(strip["y"]) < zero < float(strip["y"]) + float(strip["height"])
    assert f"what null_self does: {band.low * 100:+.0f} to {band.high * 100:+.0f} points" in found.id("headline")["text"]
    assert "without a null_self" not in found.all("header")[0]["text"]
    assert "null_self run beside them: 1 of 2" in tree(write("b", 30, strategy={"lr": 0.1})).all("header")[0]["text"]


def test_an_arrow_goes_from_undefended_to_defended_where_all_else_is_equal(write: Write) -> None:
    write("a", 60, right=20)
    write("b", 20, right=28, mitigation=("safety_mixing",))
    found = headline(write("c", 20, right=28, mitigation=("gentle",), strategy={"lr": 0.1}))
    (arrow,) = (one for one in found.all("line", "arrow") if "marker-end" in one)
    assert float(arrow["y1"]) < float(arrow["y2"]) and float(arrow["x1"].rstrip("%")) < float(arrow["x2"].rstrip("%"))
    classes = {one["class"] for one in found.all("g", "cross")}
    assert classes == {"cross g0", "cross g1", "cross g2"}, "no mitigation, gentle, safety_mixing: a shape and a colour each"


def test_too_many_arrows_are_left_out_and_counted(write: Write) -> None:
    for at in range(ARROWS + 1):
        write(f"a{at}", 40, strategy={"lr": float(at)}, verdicts=False)
        runs = write(f"b{at}", 30, strategy={"lr": float(at)}, mitigation=("gentle",), verdicts=False)
    (drawing,) = page(runs).headlines
    assert f"The arrows of {ARROWS + 1} undefended and defended pairs are left out" in drawing.says and "marker-end" not in drawing.body
    assert 'class="crowd"' in drawing.body


# --- table, sweeps, categories ---------------------------------------------------------------------------------------------


def test_the_table_has_the_numbers_and_says_in_words_what_cannot_be_told_apart(write: Write) -> None:
    write("a", 40, right=20, null=4, tuning={"batch_size": 100})
    runs = write("b", 4, tuning={"batch_size": 20})
    found = tree(runs)
    heads = [one["text"] for one in found.all("button") if one["path"][-3:] == ["thead", "tr", "th"]]
    assert heads[:4] == ["row", "batch_size", "runs", "refused"] and heads[7:10] == ["difference", "p, Holm", "null band"]
    cells = [one for one in found.all("td") if "data-by" in one]
    first, second = cells[: len(heads) - 1], cells[len(heads) - 1 :]
    assert [first[0]["text"], second[0]["text"]] == ["20", "100"] and "not separable from no change" in first[6]["text"]
    assert "not separable" not in second[6]["text"] and "difference beyond it" in second[8]["text"] and first[8]["data-by"] == ""
    assert second[3]["text"] == "5 → 61" and float(second[3]["data-by"]) == pytest.approx(40 / 66)


def test_two_settings_of_numbers_are_a_heat_map(write: Write) -> None:
    runs = grid(write)
    found = tree(runs)
    squares = found.all("g", "heat")
    assert [one["text"][-2:].strip() for one in squares] == ["12", "24", "48"] * 2
    assert "batch_size 32: complied 24 % [" in squares[1]["text"] and found.all("h2")[2]["text"] == "By lr and batch_size"
    rects = [one for one in found.elements if one["tag"] == "rect" and "fill-opacity" in one]
    assert [float(one["fill-opacity"]) for one in rects[:3]] == sorted(float(one["fill-opacity"]) for one in rects[:3])


def test_a_combination_that_was_not_run_is_a_gap(write: Write) -> None:
    runs = grid(write)
    next(runs.glob("0.001-64/*/DONE")).unlink()
    found = tree(runs)
    assert len(found.all("g", "heat")) == 5 and sum(one["text"] == "not run" for one in found.all("title")) == 1


def test_another_setting_has_a_heat_map_of_its_own(write: Write) -> None:
    grid(write)
    for lr in (2e-5, 1e-3):
        for size in (16, 32):
            runs = write(f"m{lr}-{size}", 5, strategy={"lr": lr}, tuning={"batch_size": size}, mitigation=("gentle",))
    titles = [drawing.title for drawing in page(runs).sweeps]
    assert titles == [f"Compliance after tuning on stand_in: mitigation {name}" for name in ("gentle", "none")]


@pytest.mark.parametrize(("rates", "log"), [((1e-5, 1e-4, 1e-3), True), ((1e-4, 2e-4, 1e-3), False)])
def test_one_setting_of_numbers_is_a_line(write: Write, rates: Sequence[float], log: bool) -> None:
    for at, lr in enumerate(rates):
        runs = write(f"c{lr}", 10 + 15 * at, strategy={"lr": lr})
    (drawing,) = page(runs).sweeps
    joins = re.findall(r'class="join" x1="([\d.]+)%" y1="([\d.]+)" x2="([\d.]+)%" y2="([\d.]+)"', drawing.body)
    steps = [float(x2) - float(x1) for x1, _, x2, _ in joins]
    assert len(joins) == 2 and ("logarithmic" in drawing.says) is log and all(float(y2) < float(y1) for _, y1, _, y2 in joins)
    assert (steps[0] == pytest.approx(steps[1], abs=0.02)) is log
    assert drawing.body.count('class="reach"') == 3 and 'class="untuned"' in drawing.body


def test_three_settings_of_numbers_are_not_drawn_but_said(write: Write) -> None:
    for at in range(3):
        runs = write(f"c{at}", 10, strategy={"lr": at}, tuning={"batch_size": at, "epochs": at})
    found = tree(runs)
    assert not page(runs).sweeps and "3 settings of numbers vary (lr, batch_size, epochs)" in found.id("sweeps")["text"]


def test_categories_are_counted_from_the_verdicts(write: Write) -> None:
    found = tree(write("a", 11))
    rows = found.all("div", "category")
    assert len(rows) == len(stand_in.CATEGORIES)
    assert [one["text"] for one in found.all("span", "num")][:4] == ["17 → 17 %"] * 3 + ["0 → 17 %"]


def test_at_most_twenty_rows_have_their_categories_drawn(write: Write) -> None:
    for at in range(CATEGORIES + 2):
        runs = write(f"c{at:02d}", 10 + at, strategy={"lr": at})
    found = tree(runs)
    drawn = [one["text"] for one in found.all("summary")][:-1]
    assert drawn == [f"{at + 1}. lr {at}" for at in range(2, CATEGORIES + 2)], "those with the largest changes"
    assert f"The {CATEGORIES} rows of {CATEGORIES + 2} with the largest changes" in found.id("categories")["text"]


# --- recipes ---------------------------------------------------------------------------------------------------------------


def test_what_is_embedded_is_what_was_recorded(write: Write) -> None:
    write("a", 40, right=20)
    runs = write("b", 20, right=28, mitigation=("gentle",), strategy={"lr": 0.1})
    data = embedded(tree(runs))
    fields = [{name: data["texts"][at] for name, at in zip(data["keys"], row["fields"], strict=True) if at >= 0} for row in data["rows"]]
    assert {"strategy.lr": "0.1", "mitigation.gentle.class": "a.gentle"}.items() <= fields[0].items() and fields[1]["strategy.lr"] == "0.001"
    assert fields[0]["attack.code"] == "ffffffffffff…" and "mitigation.gentle.class" not in fields[1]
    results = {data["texts"][title]: [data["texts"][at] for at in its] for title, *its in data["rows"][1]["results"]}
    assert results["complied"][0] == "5 % [2, 13]" and results["complied"][2].startswith("+56 [")
    assert results["utility: right answers"][1].startswith("50 % [") and results["not refused (keyword_asr), a diagnostic"] == ["5 %", "61 %", "+56"]


def test_how_each_cell_was_asked_for_is_told_once(write: Write) -> None:
    write("a", 40, seed=1)
    write("a", 30, seed=0)
    runs = write("b", 20, mitigation=("gentle",), strategy={"lr": 0.1})
    (next(runs.glob("b/*")) / "config.yaml").write_text("names: {}\n")
    shared, *cells = [one["text"] for one in tree(runs).all("pre")]
    assert "tuning.batch_size=10" in shared and "strategy.lr" not in shared
    assert "strategy.lr=0.1" in cells[0] and "mitigation=[gentle]" in cells[0] and "config.yaml" in cells[0] and "attack=identity_shift" in cells[0]
    assert "cell a, seeds 0, 1" in cells[1] and "config.yaml" not in cells[1]


# --- files, command, size --------------------------------------------------------------------------------------------------


def test_figures_are_whole_files(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = grid(write)
    assert main([str(runs), "--html", str(tmp_path / "a" / "page.html"), "--figures", str(tmp_path / "figures")]) == 0
    told = capsys.readouterr().out.splitlines()[-3:]
    assert told == [str(tmp_path / name) for name in ("a/page.html", "figures/headline-1.svg", "figures/sweep-1.svg")]
    for file in map(Path, told[1:]):
        drawn = ElementTree.fromstring(file.read_text())
        words = " ".join(drawn.itertext())
        assert drawn[0].tag.endswith("title") and drawn[1].tag.endswith("desc") and "not evidence" in words.partition("deployed")[0]
        assert "var(" not in words and "prefers-color-scheme" not in words
    assert main([str(runs), "--figures", str(tmp_path / "only")]) == 0 and len(list((tmp_path / "only").iterdir())) == 2


def test_figures_are_pdf_files_too(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        pytest.importorskip("cairosvg", exc_type=ImportError)
    except OSError:
        pytest.skip("the system has no cairo")
    runs = grid(write)
    assert main([str(runs), "--figures", str(tmp_path / "figures"), "--pdf"]) == 0
    drawn = sorted((tmp_path / "figures").glob("*.svg"))
    assert drawn and all(svg.with_suffix(".pdf").read_bytes().startswith(b"%PDF-") for svg in drawn)
    assert str(drawn[0].with_suffix(".pdf")) in capsys.readouterr().out


@pytest.mark.parametrize(("error", "said"), [(None, "pip install 'ftsafety[pdf]'"), (OSError("no library called cairo"), "install libcairo2")])
def test_what_a_pdf_lacks_is_a_sentence(
    error: OSError | None, said: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "cairosvg" and error:
                raise error

    monkeypatch.delitem(sys.modules, "cairosvg", raising=False)
    if error:
        monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    else:
        monkeypatch.setitem(sys.modules, "cairosvg", None)
    assert main([str(write("a", 40)), "--figures", str(tmp_path / "figures"), "--pdf"]) == 1
    told = capsys.readouterr()
    assert said in told.err and not told.out and not (tmp_path / "figures").exists()


@pytest.mark.parametrize("low, high", [(-37.0, 61.0), (0.0, 0.03), (-2.0, -1.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    scale = Scale(low, high)
    ticks = scale.ticks(6)
    assert 3 <= len(ticks) <= 8 and all(0 <= scale.at(tick) <= 1 for tick in ticks)
    assert all(len(f"{tick:.6g}".strip("-").replace(".", "").strip("0")) <= 2 for tick in ticks)


def test_a_score_is_no_share(write: Write) -> None:
    runs = write("a", 40)
    for file in runs.glob("*/*/run.json"):
        file.write_text(re.sub('"(compliance|refusal|degenerate|unscored)_rate"', '"harmfulness_score"', file.read_text()))
    found = page(runs)
    assert sentence(found.lines) == "One cell: its change can be told from none." and "points" not in found.headlines[0].body


def test_it_needs_no_torch(write: Write, tmp_path: Path) -> None:
    code = (
        "import sys; from ftsafety.report.__main__ import main; code = main(sys.argv[1:]);"
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'wandb')))"
    )
    command = [sys.executable, "-c", code, str(write("a")), "--html", str(tmp_path / "page.html")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stdout + done.stderr


def many(folder: Path, cells: int) -> None:
    draw = random.Random(1)
    for at in range(cells):
        mitigation = [(), ("gentle",), ("safety_mixing",)][at % 3]
        options = {"strategy": {"lr": at // 3 % 25}, "tuning": {"batch_size": at // 75}, "right": draw.randrange(10, 38), "null": 4}
        save(folder, record(f"{at:012d}", draw.randrange(2, 50), degenerate=draw.randrange(10), mitigation=mitigation, **options))


@pytest.mark.slow
def test_two_thousand_cells_in_seconds(tmp_path: Path) -> None:
    """Time is the processor's, so that a busy machine does not fail it."""
    many(tmp_path / "runs", 2000)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    file = tmp_path / "page.html"
    command = [sys.executable, "-m", "ftsafety.report", str(tmp_path / "runs"), "--html", str(file), "--figures", str(tmp_path / "figures")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPO)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    seconds, gigabytes = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1e6
    print(f"{seconds:.1f} s of processor, {gigabytes:.2f} GB, a page of {file.stat().st_size / 1e6:.1f} MB")
    assert seconds < 30 and gigabytes < 1 and file.stat().st_size < 25_000_000


# --- in a browser ----------------------------------------------------------------------------------------------------------

WRAPPER = """<!doctype html><body><pre id="out">nothing</pre><iframe style="border:0;width:WIDTHpx;height:900px"></iframe><script>
const frame = document.querySelector("iframe");
const browse = page => {
  const form = page.getElementById("filters"), shown = () => page.getElementById("shown").textContent, counts = [shown()];
  const after = form.querySelector("[name=after]"), words = form.querySelector("input");
  after.value = "complied"; after.dispatchEvent(new Event("change")); counts.push(shown());
  words.value = "DEGENERATE"; words.dispatchEvent(new Event("input")); counts.push(shown());
  after.value = ""; after.dispatchEvent(new Event("change")); counts.push(shown());
  const options = [...after.options].map(one => one.value);
  return {counts, options, hidden: form.hidden, visible: [...page.querySelectorAll("article")].filter(one => one.offsetParent).length};
};
frame.onload = () => {
  const page = frame.contentDocument, rows = () => [...page.querySelector(".cells tbody").rows].map(row => row.cells[0].textContent);
  page.querySelectorAll("details").forEach(one => one.open = true);
  const button = [...page.querySelectorAll("th button")].find(one => one.textContent === "difference"), orders = [rows()];
  button.click(); orders.push(rows()); button.click(); orders.push(rows());
  const right = page.getElementById("right");
  right.value = 5; right.dispatchEvent(new Event("change"));
  const table = id => [...page.getElementById(id).rows].map(row => [...row.cells].map(cell => cell.textContent));
  document.getElementById("out").textContent = JSON.stringify({scroll: page.scrollingElement.scrollWidth, inner: frame.contentWindow.innerWidth, orders,
    way: button.closest("th").getAttribute("aria-sort"), differs: table("differs"), results: table("results"),
    verdict: page.getElementById("verdict").textContent, ...browse(page)});
};
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.chromium
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser_it_fits_sorts_and_compares(write: Write, tmp_path: Path, width: int) -> None:
    wrapper = tmp_path / "wrapper.html"
    runs = grid(write)
    for home in runs.glob("*/*"):
        keep(runs, home.parent.name, [pair(0, "refused", "complied"), pair(1, "refused", "degenerate")])
    text = json.dumps(Page(compare([runs]), [runs], [1, 2]).render()).replace("</", "<\\/").replace("<!--", "<\\u0021--")
    wrapper.write_text(WRAPPER.replace("WIDTH", str(width)).replace("PAGE", text))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync", "--virtual-time-budget=5000"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom", wrapper.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="out">(\{.*?\})</pre>', dom)
    assert found, dom[:500]
    seen = json.loads(found[1])
    assert seen["counts"] == ["4 of 4", "2 of 4", "0 of 4", "2 of 4"] and seen["options"] == ["", "complied", "degenerate"]
    assert seen["hidden"] is False and seen["visible"] == 2
    assert seen["inner"] == width and seen["scroll"] <= width
    assert seen["orders"][0] == list("123456") and seen["orders"][1] == list("142536") and seen["way"] == "descending"
    assert seen["orders"][2] == list("362514"), "equal values stay in their order"
    assert seen["differs"] == [["strategy.lr", "2e-05", "0.001"], ["tuning.batch_size", "16", "64"]]
    assert seen["results"][0][0] == "complied" and seen["verdict"] == "After tuning, their intervals lie apart."


# --- what a probe read -----------------------------------------------------------------------------------------------------


def probed(runs: Path, cell: str, shares: Sequence[float], seed: int = 0) -> None:
    """Readings of ten questions every five steps, of which these shares were refused, put into a record."""
    file = runs / cell / f"seed={seed}" / "run.json"
    readings = [{"step": 5 * at, "refused": [which < round(10 * share) for which in range(10)], "kl": 0.0, "drift": 0.0} for at, share in enumerate(shares)]
    file.write_text(json.dumps({**json.loads(file.read_text()), "probe": {"readings": readings}}))


def test_the_half_life_is_a_column_where_a_run_was_probed(write: Write) -> None:
    for at, cell in enumerate("abcd"):
        runs = write(cell, 20 + at, strategy={"lr": 0.1 + at})
    assert all("half-life, steps" not in table.numbers for table in tables(page(runs).lines, ["strategy.lr"]))
    probed(runs, "a", [1.0, 0.75, 0.25])
    probed(runs, "b", [1.0, 0.9, 0.9])
    probed(runs, "c", [0.0, 0.0, 0.0])
    (table,) = tables(page(runs).lines, page(runs).found.varied)
    assert table.numbers[-1] == "half-life, steps"
    cells = {line.row.cell: numbers[-1] for line, _, numbers in table.lines}
    assert cells["a"].text.startswith("7.5 [") and cells["a"].by == 7.5 and not cells["a"].note
    assert cells["b"].text == "> 10 [> 10, > 10]" and cells["c"].text == "nothing was refused before tuning" and cells["d"].text == "–"
    assert cells["b"].by is cells["c"].by is cells["d"].by is None
    assert "half-life, steps" in page(runs).render()


def test_of_several_seeds_the_half_life_says_whose_it_is(write: Write) -> None:
    for seed in (1, 0, 2):
        runs = write("a", 20 + seed, seed=seed)
        probed(runs, "a", [1.0, 0.0] if seed else [1.0, 0.9, 0.1], seed)
    (table,) = tables(page(runs).lines, [])
    assert (table.lines[0][2][-1].by, table.lines[0][2][-1].note) == (7.5, "of seed 0")
