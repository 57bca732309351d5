"""Training curves on the pages: every point where its numbers say, nothing where no record has a curve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftsafety.curve import Step, of_record, points, thinned
from ftsafety.report import curve_figures, write_report
from ftsafety.report.compare import compare
from ftsafety.report.many import Page
from tests.report.test_many import Tree, record, save

STEPS = [Step(2.0 / at, 0.001 * 0.9**at, 1.0 + at % 3) for at in range(1, 31)]


def with_curve(folder: Path, cell: str, steps: list[Step], **options: Any) -> None:
    data, verdicts = record(cell, 40, **options)
    data["stages"] = [{"stage": "align", "key": "k"}, {"stage": "tune", "final_loss": 0.1, "steps": len(steps), "curve": thinned(steps)}]
    save(folder, (data, verdicts))


def page(folder: Path) -> Page:
    return Page(compare([folder]), [folder])


def traces(found: Page) -> dict[str, list[tuple[float, float, float, float]]]:
    """By cell, the lines of its trace in the one chart."""
    (drawing,) = found.curves
    return {line.row.cell: ends(Tree(drawing.inline), line.number) for line in found.lines}


def ends(tree: Tree, number: int) -> list[tuple[float, float, float, float]]:
    """The lines of a row's trace: shares across, pixels down."""
    lines, here = [], False
    for one in tree.elements:
        here = one.get("data-row") == str(number) if one["tag"] == "g" else here
        if here and one["tag"] == "line":
            lines.append((float(one["x1"].rstrip("%")), float(one["y1"]), float(one["x2"].rstrip("%")), float(one["y2"])))
    return lines


def test_what_is_kept_is_thinned_from_first_to_last() -> None:
    kept = thinned([Step(float(at)) for at in range(1, 1001)])
    assert kept["step"][0] == 1 and kept["step"][-1] == 1000 and len(kept["step"]) == 200 == len(set(kept["step"]))
    assert kept["loss"] == [float(step) for step in kept["step"]] and set(kept) == {"step", "loss"}
    gaps = {b - a for a, b in zip(kept["step"], kept["step"][1:], strict=False)}
    assert gaps <= {5, 6}
    assert thinned(STEPS)["step"] == list(range(1, 31)) and set(thinned(STEPS)) == {"step", "loss", "learning_rate", "gradient_norm"}
    assert points(thinned([Step(1.0), Step(0.5, 0.1)])) == [(1, {"loss": 1.0}), (2, {"loss": 0.5, "learning_rate": 0.1})]
    assert thinned([Step(1 / 3)]) == {"step": [1], "loss": [0.333333]}


def test_several_tunings_of_a_kind_have_names_of_their_own() -> None:
    stages = [{"stage": kind, "curve": {"step": [1], "loss": [at]}} for at, kind in enumerate(["align", "substage", "substage", "tune"])]
    found = of_record([*stages[:1], {"stage": "answer"}, *stages[1:]])
    assert {name: kept["loss"] for name, kept in found.items()} == {"align": [0], "substage": [1], "substage_2": [2], "tune": [3]}


def test_a_run_s_curves_lie_where_their_numbers_say(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    data = json.loads((folder / "run.json").read_text())
    next(stage for stage in data["stages"] if stage["stage"] == "tune")["curve"] = thinned(STEPS)
    (tuning,) = curve_figures.of_run(data)
    assert (tuning.title, tuning.says) == ("Tuning", "Loss from 2 to 0.06667 in 30 optimiser steps.")
    assert [drawing.name for drawing in tuning.drawings] == ["curve-tune-loss", "curve-tune-learning_rate", "curve-tune-gradient_norm"]
    joins = [one for one in Tree(tuning.drawings[0].inline).all("line", "join")]
    assert len(joins) == 29
    assert float(joins[0]["x1"].rstrip("%")) == pytest.approx(100 / 30, abs=0.01) and joins[-1]["x2"] == "100%"
    zero = next(float(one["y1"]) for one in Tree(tuning.drawings[0].inline).all("line", "zero") if one["x1"] == "0%" and one["x2"] == "100%")
    heights = [zero - float(one["y1"]) for one in joins]
    assert [height / heights[0] for height in heights] == pytest.approx([step.loss / 2.0 for step in STEPS[:-1]], abs=2e-3)
    (folder / "run.json").write_text(json.dumps(data))
    assert "How the tuning went" in write_report(folder).read_text()


def test_without_a_curve_the_pages_have_no_section(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(attack=False)
    assert curve_figures.of_run(json.loads((folder / "run.json").read_text())) == []
    assert 'id="curves"' not in write_report(folder).read_text()
    save(tmp_path / "many", record("a", 40))
    assert page(tmp_path / "many").curves == [] and 'id="curves"' not in page(tmp_path / "many").render()


def test_many_curves_are_those_of_the_lowest_seeds(tmp_path: Path) -> None:
    with_curve(tmp_path, "a", STEPS, seed=1)
    with_curve(tmp_path, "a", STEPS[:10], seed=0)
    with_curve(tmp_path, "b", STEPS[:20], mitigation=["lisa"])
    (drawing,) = page(tmp_path).curves
    found = traces(page(tmp_path))
    assert {cell: (len(lines), lines[-1][2]) for cell, lines in found.items()} == {"a": (9, 50), "b": (19, 100)}
    assert [text for _, text in drawing.legend] == ["no mitigation", "lisa"]
    assert 'id="curves"' in page(tmp_path).render()
    written = page(tmp_path).write_figures(tmp_path / "figures")
    assert tmp_path / "figures" / "curves-1.svg" in written


def test_very_unequal_lengths_are_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    with_curve(tmp_path, "a", STEPS[:1])
    with_curve(tmp_path, "b", [Step(1.0)] * 1000, mitigation=["lisa"])
    (drawing,) = page(tmp_path).curves
    ticks = [one["text"] for one in Tree(drawing.inline).all("text", "tick")]
    assert {"1", "10", "100", "1000"} <= set(ticks)
    found = traces(page(tmp_path))
    assert found["a"] == [] and 45 < len(found["b"]) <= 60 and found["b"][-1][2] == 100, "one step is a mark, a thousand are thinned"


def test_of_very_many_the_first_are_drawn_and_it_says_so(tmp_path: Path) -> None:
    for at in range(curve_figures.MOST + 2):
        with_curve(tmp_path, f"c{at:02d}", STEPS[:5], strategy={"lr": 0.001 * (at + 1)})
    (drawing,) = page(tmp_path).curves
    assert len(Tree(drawing.inline).all("g", "trace")) == curve_figures.MOST and "the first of 42" in drawing.says
