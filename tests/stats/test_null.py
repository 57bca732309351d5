"""The band of what tuning does by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ftsafety.errors import DataError
from ftsafety.stats import Band, Estimate, null_band


def narrow(value: float) -> Estimate:
    return Estimate(value, value - 1e-6, value + 1e-6, 330)


def test_one_run_is_its_own_interval() -> None:
    band = null_band([Estimate(-0.02, -0.08, 0.03, 66)])
    assert (band.low, band.high, band.runs) == (pytest.approx(-0.08), pytest.approx(0.03), 1)


def test_several_runs_predict_the_next() -> None:
    values = [0.01, -0.02, 0.03, 0.0]
    band = null_band([narrow(value) for value in values])
    half = scipy_stats.t.ppf(0.975, 3) * np.std(values, ddof=1) * math.sqrt(1 + 1 / 4)
    assert (band.low, band.high, band.runs) == (pytest.approx(np.mean(values) - half), pytest.approx(np.mean(values) + half), 4)


def test_runs_that_agree_are_no_narrower_than_one() -> None:
    band = null_band([Estimate(0.0, -0.06, 0.06, 66)] * 3)
    assert (band.low, band.high) == (-0.06, 0.06)
    assert null_band([narrow(0.5), narrow(-0.5)]) == Band(-1.0, 1.0, 2), "two runs predict little"


def test_beyond() -> None:
    band = Band(-0.05, 0.04, 3)
    assert band.beyond(Estimate(0.5, 0.4, 0.6, 66)) and band.beyond(Estimate(-0.2, -0.3, -0.06, 66))
    assert not band.beyond(Estimate(0.1, 0.03, 0.2, 66)) and not band.beyond(Estimate(0.0, -0.01, 0.01, 66))
    with pytest.raises(DataError, match="controls=true"):
        null_band([])


def test_the_next_null_run_lies_in_it_19_times_of_20() -> None:
    draw, inside, times = np.random.default_rng(1), 0, 2000
    for _ in range(times):
        *seen, following = draw.normal(-0.01, 0.03, 5)
        band = null_band([narrow(value) for value in seen])
        inside += band.low <= following <= band.high
    assert inside / times == pytest.approx(0.95, abs=0.015)
