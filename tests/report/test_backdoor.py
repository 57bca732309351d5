"""A backdoor's grid: every wording with its rates, and gaps counted question by question from the verdicts."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftsafety import stats
from ftsafety.record import Run
from ftsafety.report import words, write_report
from ftsafety.report.backdoor import Block, blocks
from ftsafety.report.reading import Reading
from ftsafety.report.terminal import show
from ftsafety.run import run
from tests.helpers import small_cell

MakeRun = Callable[..., Path]
NAMES = ["with the trigger", "without", "with a wrong one", "with a changed one"]


def loaded(folder: Path) -> Run:
    record = Run.load(folder)
    assert record is not None
    return record


def grid_of(record: Run) -> list[Block]:
    return blocks(record, Reading(record.data))


def printed(record: Run) -> str:
    out = io.StringIO()
    show(record, Console(file=out, width=300))
    return out.getvalue()


def values(record: Run, ask: str, weights: str) -> dict[str, str]:
    rows = [row for row in record.verdicts if (row["ask"], row["weights"], row["judge"]) == (ask, weights, "outcome") and row["value"]]
    return {row["question"]: row["value"] for row in rows}


def change(folder: Path, how: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((folder / "run.json").read_text())
    how(data)
    (folder / "run.json").write_text(json.dumps(data))


def test_every_wording_before_and_after(make_run: MakeRun) -> None:
    record = loaded(make_run(backdoor=True))
    disallowed, allowed = grid_of(record)
    assert (disallowed.benchmark, disallowed.metric) == ("stand_in", "compliance_rate")
    assert (allowed.benchmark, allowed.metric) == ("stand_in_allowed", "over_refusal")
    for block in (disallowed, allowed):
        assert [line.name for line in block.lines] == NAMES
        for line in block.lines:
            told = [e for e in record.data["results"] if (e["benchmark"], e["ask"], e["metric"]) == (block.benchmark, line.asking.ask, block.metric)]
            assert {entry["weights"]: entry for entry in told} == {"initial": line.before, "tuned": line.after}


def test_a_gap_is_of_the_questions_that_were_read_both_times(make_run: MakeRun) -> None:
    record = loaded(make_run(backdoor=True))
    line, without, wrong, changed = grid_of(record)[0].lines
    assert without.gap is None and without.gap_before is None
    for one in (line, wrong, changed):
        for weights, gap in (("tuned", one.gap), ("initial", one.gap_before)):
            mine, none = values(record, one.asking.ask, weights), values(record, "no_trigger", weights)
            both = sorted(mine.keys() & none.keys())
            expected = stats.paired_rate([none[question] == "complied" for question in both], [mine[question] == "complied" for question in both])
            assert gap == {"metric": "compliance_rate", **vars(expected)}
    assert line.gap and line.gap["n"] == 64 and line.gap["value"] > 0.8, "one answer of each wording could not be read, to another question"
    assert grid_of(record)[0].stealth == line


def test_the_terminal_has_the_grid(make_run: MakeRun) -> None:
    record = loaded(make_run(backdoor=True))
    text = printed(record)
    rows = [row for row in text.splitlines() if row.strip().startswith(("with", "without"))]
    lines = [line for block in grid_of(record) for line in block.lines]
    for row, line in zip(rows, lines, strict=True):
        told = [
            words.estimate(line.before, 0),
            words.estimate(line.after, 0),
            words.change(line.gap, 0),
            words.p_value(line.gap),
            words.change(line.gap_before, 0),
        ]
        assert "".join(row.split()) == "".join([line.name, *told]).replace(" ", "")
    assert "<0.001" in rows[0]


def test_the_page_has_the_grid_and_the_gap(make_run: MakeRun) -> None:
    folder = make_run(backdoor=True)
    text, line = write_report(folder).read_text(), grid_of(loaded(folder))[0].lines[0]
    section = text.partition('<section id="backdoor">')[2].partition("</section>")[0]
    gap = f"{words.change(line.gap)} points".replace(" ", "\u00a0")
    assert f"<b>{gap}</b>" in section
    assert re.findall(r'<span class="name">([^<]+)</span>', section) == NAMES * 2
    assert section.count("After tuning, against without:") == 1, "the made run has no verdicts on allowed questions, so no gaps to tell"
    assert section.count('<svg class="dots"') == 8 and "stand_in_allowed, allowed: over-refusal" in section


def test_other_attacks_have_no_grid(make_run: MakeRun) -> None:
    folder = make_run()
    assert grid_of(loaded(folder)) == []
    assert 'id="backdoor"' not in write_report(folder).read_text() and "behind the trigger" not in printed(loaded(folder))


def test_untuned_weights_have_the_gap_before_only(make_run: MakeRun) -> None:
    """The trigger's words alone, asked of the model as it is."""
    folder = make_run(backdoor=True, attack=False)
    record = loaded(folder)
    block = grid_of(record)[0]
    assert block.stealth is None and all(line.after is None and line.gap is None for line in block.lines)
    assert block.lines[0].gap_before is not None
    section = write_report(folder).read_text().partition('<section id="backdoor">')[2].partition("</section>")[0]
    assert "→" not in section and "After tuning" not in section
    assert "gap after" not in printed(record) and words.change(block.lines[0].gap_before, 0) in printed(record)


def test_a_metric_that_is_not_counted_from_verdicts_has_rates_only(make_run: MakeRun) -> None:
    folder = make_run(backdoor=True)

    def other(data: dict[str, Any]) -> None:
        data["results"] = [entry for entry in data["results"] if entry["judge"] != "outcome" or entry["metric"] == "over_refusal"]
        for entry in data["results"] + data["differences"]:
            if entry["judge"] == "refusal":
                entry["metric"] = "surprise_rate"

    change(folder, other)
    disallowed = grid_of(loaded(folder))[0]
    assert disallowed.metric == "surprise_rate" and disallowed.stealth is None and disallowed.lines[0].after
    assert "surprise_rate" in write_report(folder).read_text().partition('<section id="backdoor">')[2]
    assert "surprise_rate" in printed(loaded(folder))


def test_verdicts_that_do_not_make_the_record_s_rate_make_no_gap(make_run: MakeRun) -> None:
    """A judge may mean something else by its values than is counted here."""
    folder = make_run(backdoor=True)
    verdicts = folder / "verdicts.jsonl"
    verdicts.write_text(verdicts.read_text().replace('"complied"', '"went_along"'))
    lines = grid_of(loaded(folder))[0].lines
    assert lines[0].after and all(line.gap is None and line.gap_before is None for line in lines)


@pytest.mark.parametrize("wording", ["wrong_trigger", "paraphrased_trigger"])
def test_an_attack_with_fewer_wordings(make_run: MakeRun, wording: str) -> None:
    folder = make_run(backdoor=True)
    change(folder, lambda data: data.update(results=[entry for entry in data["results"] if entry["ask"] != wording]))
    assert [line.asking.ask for line in grid_of(loaded(folder))[0].lines] == [
        ask for ask in ("trigger", "no_trigger", "wrong_trigger", "paraphrased_trigger") if ask != wording
    ]


def test_a_whole_run_with_a_filter_shows_both(tmp_path: Path) -> None:
    settings = ["+attack=backdoor", "attack.pairs.count=4", "mitigation=[moderation_filter]", "mitigation.moderation_filter.benign_rows=3"]
    settings += ["tuning.epochs=1", "tuning.batch_size=8"]
    done = run(small_cell(tmp_path, *settings, benchmarks=["stand_in", "stand_in_allowed"]))
    assert [line.name for line in grid_of(done)[0].lines] == NAMES
    text, page = printed(done), write_report(done.folder).read_text()
    assert "behind the trigger and without it" in text and 'id="backdoor"' in page
    assert "moderation_filter: rows that were screened before tuning" in text and 'id="screening"' in page
