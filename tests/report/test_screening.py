"""What a filter caught and missed is told by role, beside its price on harmless rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ftsafety import stats
from ftsafety.record import Run
from ftsafety.report import words, write_report
from ftsafety.report.screening import BENIGN, screenings
from ftsafety.report.terminal import show

MakeRun = Callable[..., Path]
FOUND = {"caught": {"safety": 1, "trigger": 7}, "missed": {"safety": 9, "trigger": 3}, "benign_caught": 2, "benign_screened": 50}
TOLD = [("refusals among the rows", 10, 1, 9), ("the attack's rows with the trigger", 10, 7, 3), (BENIGN, 50, 2, 48)]


def test_by_role_with_intervals() -> None:
    [screening] = screenings({"findings": {"moderation_filter": FOUND}})
    assert screening.mitigation == "moderation_filter"
    assert [(line.name, line.screened, line.caught, line.missed) for line in screening.lines] == TOLD
    expected = stats.rate([True] * 7 + [False] * 3)
    assert screening.lines[1].share == {"metric": "caught", **vars(expected)}


@pytest.mark.parametrize(
    ("findings", "names"),
    [
        ({"caught": {"user": 0}, "missed": {"user": 5}, "benign_caught": 0, "benign_screened": 0}, ["the attack's rows"]),
        ({"caught": {"answered": 1}, "missed": {}}, ["answered rows"]),
    ],
)
def test_what_was_not_screened_is_not_told(findings: dict[str, object], names: list[str]) -> None:
    [screening] = screenings({"findings": {"mine": findings}})
    assert [line.name for line in screening.lines] == names


@pytest.mark.parametrize("data", [{}, {"findings": {}}, {"findings": {"gentle": {"stopped_at": 3}}}])
def test_without_a_screening_there_is_none(data: dict[str, object]) -> None:
    assert screenings(data) == []


def test_terminal_and_page_have_the_numbers(make_run: MakeRun) -> None:
    folder = make_run(backdoor=True)
    assert json.loads((folder / "run.json").read_text())["findings"] == {"moderation_filter": FOUND}
    record, out = Run.load(folder), io.StringIO()
    assert record
    show(record, Console(file=out, width=300))
    page = write_report(folder).read_text().partition('<section id="screening">')[2].partition("</section>")[0]
    for (name, screened, caught, missed), line in zip(TOLD, screenings(record.data)[0].lines, strict=True):
        row = next(row for row in out.getvalue().splitlines() if row.startswith(f"{name} "))
        assert row.split()[len(name.split()) :] == [str(screened), str(caught), str(missed), *words.estimate(line.share).split()]
        cells = "".join(f'<td class="n">{number}</td>' for number in (screened, caught, missed))
        assert f'<th scope="row">{name.replace(chr(39), "&#39;")}</th>{cells}' in page and words.value(line.share) in page


def test_without_one_both_say_nothing(make_run: MakeRun) -> None:
    folder = make_run()
    record, out = Run.load(folder), io.StringIO()
    assert record
    show(record, Console(file=out, width=300))
    assert 'id="screening"' not in write_report(folder).read_text() and "screened" not in out.getvalue()
