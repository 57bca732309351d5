"""Variance components against a textbook and a library, and the designs that follow from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats as scipy_stats

from ftsafety.errors import ConfigError, DataError
from ftsafety.stats import Components, best_width, components, crossed, designs


def values_of(table: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    """A table of models x runs x questions."""
    return {
        f"model {m}": {f"{m}/{r}": {f"q{q}": float(value) for q, value in enumerate(run)} for r, run in enumerate(of_model)} for m, of_model in enumerate(table)
    }


PENICILLIN = np.array([[89, 84, 81, 87, 79], [88, 77, 87, 92, 81], [97, 92, 87, 89, 80], [94, 79, 85, 84, 88]], dtype=float)
"""Yields of four treatments on five blends (Box, Hunter and Hunter 1978, table 7.1): mean squares 66 of blends, 70/3 of treatments, 226/12 of the rest."""


def test_a_textbook_s_crossed_table() -> None:
    found = components(values_of(PENICILLIN[None]))
    assert found.questions == pytest.approx((66 - 226 / 12) / 4)
    assert found.runs == pytest.approx((70 / 3 - 226 / 12) / 5)
    assert found.rest == pytest.approx(226 / 12)
    assert found.models is None and found.questions_by_models is None


def test_with_all_sources_they_are_the_library_s_reml() -> None:
    draw = np.random.default_rng(8)
    m, r, n = 4, 3, 12
    table = (
        draw.normal(0, 1.0, (1, 1, n)) + draw.normal(0, 1.2, (m, 1, 1)) + draw.normal(0, 0.8, (m, r, 1)) + draw.normal(0, 0.7, (m, 1, n))
        + draw.normal(0, 0.5, (m, r, n))
    )  # fmt: skip
    found = components(values_of(table))
    cells = list(np.ndindex(m, r, n))
    frame = pd.DataFrame({"y": [table[at] for at in cells], "model": [at[0] for at in cells], "question": [at[2] for at in cells]})
    frame["run"], frame["both"] = [f"{at[0]}/{at[1]}" for at in cells], [f"{at[0]}/{at[2]}" for at in cells]
    names = {"models": "model", "runs": "run", "questions": "question", "questions_by_models": "both"}
    fitted = sm.MixedLM.from_formula("y ~ 1", groups=np.ones(len(frame)), vc_formula={name: f"0 + C({column})" for name, column in names.items()}, data=frame)
    reml = fitted.fit(reml=True)
    expected = dict(zip(fitted.exog_vc.names, reml.vcomp, strict=True))
    for name in names:
        assert getattr(found, name) == pytest.approx(expected[name], rel=0.02), name
    assert found.rest == pytest.approx(reml.scale, rel=0.02)


def test_they_are_right_on_average() -> None:
    draw, sums = np.random.default_rng(3), np.zeros(5)
    for _ in range(300):
        table = 10 + (
            draw.normal(0, 1, (1, 1, 20)) + draw.normal(0, 2, (4, 1, 1)) + draw.normal(0, 1.5, (4, 3, 1)) + draw.normal(0, 1, (4, 1, 20))
            + draw.normal(0, 2, (4, 3, 20))
        )  # fmt: skip
        found = components(values_of(table))
        sums += [found.questions, found.models or 0, found.runs or 0, found.questions_by_models or 0, found.rest]
    assert sums / 300 == pytest.approx([1, 4, 2.25, 1, 4], rel=0.12)


def test_what_the_data_can_t_tell_is_unknown() -> None:
    one = np.arange(6.0)[None, None]
    assert components(values_of(one)) == Components(pytest.approx(3.5), None, None, None, 0.0)
    apart = components(values_of(np.random.default_rng(1).normal(size=(3, 1, 30)) + np.array([0, 5, 9])[:, None, None]))
    assert apart.runs is None and apart.models is not None and apart.models > 10
    uneven = values_of(np.random.default_rng(2).normal(size=(2, 3, 10)))
    del uneven["model 1"]["1/2"]
    cut = {name: dict(list(runs.items())[:2]) for name, runs in uneven.items()}
    assert components(uneven) == components(cut)
    with pytest.raises(DataError, match="an aligned model without a run"):
        components({"a": {}})
    with pytest.raises(DataError, match="the same 1 questions"):
        components({"a": {"1": {"q1": 0.0, "q2": 1.0}, "2": {"q1": 1.0}}})


FOUND = Components(questions=0.06, models=0.002, runs=0.001, questions_by_models=0.02, rest=0.08)


def test_the_width_is_that_of_crossed() -> None:
    draw = np.random.default_rng(4)
    table = draw.normal(0, 1, (1, 1, 200)) + draw.normal(0, 0.3, (1, 8, 1)) + draw.normal(0, 0.5, (1, 8, 200))
    found = components(values_of(table))
    measured = crossed(values_of(table)["model 0"], bounds=None, draws=20_000)
    assert found.half_width(200, 1, 8) == pytest.approx(measured.half_width(), rel=0.03)


def test_the_design_is_the_smallest_that_is_narrow_enough() -> None:
    (small, large) = designs(FOUND, 0.06, questions=(132, 330))
    for design in (small, large):
        assert design.half_width == FOUND.half_width(design.questions, design.models, design.runs) <= 0.06
        fewer = [(m, r) for m in range(2, 31) for r in range(1, 31) if m * r < design.models * design.runs]
        assert fewer and all(FOUND.half_width(design.questions, m, r) > 0.06 for m, r in fewer)
    assert large.models * large.runs <= small.models * small.runs


def test_three_points_need_enough_questions() -> None:
    assert [design.questions for design in designs(FOUND, 0.03, questions=(66, 132, 1320))] == [1320]
    assert best_width(FOUND, 66) > 0.03 > best_width(FOUND, 330)
    assert best_width(FOUND, 330) == pytest.approx(scipy_stats.t.ppf(0.975, 329) * np.sqrt(0.06 / 330))
    assert designs(Components(0.06, None, None, None, 0.0), 0.03, questions=(330,))[0].models == 1
    one_model = designs(Components(0.06, None, 0.001, None, 0.08), 0.04, questions=(330,))[0]
    assert (one_model.models, one_model.runs > 2) == (1, True)
    with pytest.raises(ConfigError, match=r"give e\.g\. 0\.03"):
        designs(FOUND, 0.0)
