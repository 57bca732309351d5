"""What is told of a whole file, and what every screen promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftsafety.context import Context
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.row import Row
from ftsafety.screen import Screen, Screened, screened
from tests.mitigation.bench import ROWS, Bench
from tests.screen.doubles import CONF, shipped

OPTIONS = sorted(file.stem for file in CONF.glob("*.yaml"))


@dataclass(kw_only=True)
class Short(Screen):
    """Loses the last row."""

    source = "this test"

    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        return [0.0 for _ in rows[1:]]


def test_a_file_s_totals_are_counted_over_all_rows() -> None:
    found = Screened((0.2, 0.5, None, 0.9), 0.5)
    assert found.flags == [False, True, False, True] and found.share == 0.5
    assert found.totals() == {"rows": 4, "flagged": 2, "unscored": 1, "share": 0.5, "threshold": 0.5}
    assert Screened((), 0.5).share == 0.0


def test_a_screen_that_loses_a_row_is_told() -> None:
    with pytest.raises(FtsafetyError, match="gave 7 scores for 8 rows"):
        screened(Short(threshold=0.5), ROWS, Context(0))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_screen_scores_every_row_the_same_twice(name: str, tmp_path: Path) -> None:
    screen = shipped(name)
    screen.check(f"screen.{name}", {})
    once, twice = [screened(screen, ROWS, Bench(tmp_path).context({})).scores for _ in range(2)]
    assert once == twice and len(once) == len(ROWS)
    assert all(score is None or isinstance(score, float) for score in once)


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("trigger_ngrams", {"least_rows": 1}, r"screen\.x\.least_rows=1 is not possible; give at least 2"),
        ("near_duplicates", {"shingle": 0}, r"screen\.x\.shingle=0 is not possible"),
        ("similarity", {"depth": 1.5}, r"screen\.x\.depth=1.5 is not possible"),
        ("similarity", {"declined": "mine.jsonl"}, r"give both screen\.x\.declined and screen\.x\.allowed"),
        ("judge", {"flagged": ["unsafe"]}, "is no label of OutcomeJudge; it has refused, complied, degenerate"),
    ],
)
def test_settings_that_make_no_sense(name: str, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        shipped(name, **fields).check("screen.x", {})
