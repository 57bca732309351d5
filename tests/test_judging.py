"""The judging stage: verdicts through the store, each kept before the next, so that none is paid for twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftsafety import plan
from ftsafety.context import Context
from ftsafety.errors import ServiceError
from ftsafety.hashing import digest_of
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.judge.panel import Panel
from ftsafety.judge.policy import PolicyJudge
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.mitigation.moderation_filter import ModerationFilter
from ftsafety.policy.file import load
from ftsafety.report import write_report
from ftsafety.report.terminal import show
from ftsafety.row import PLAIN
from ftsafety.run import run
from ftsafety.stages import House, judged
from ftsafety.store import lease
from ftsafety.store.verdicts import VERDICTS, VerdictBook, book_of
from tests.helpers import cell_of
from tests.service import Answered, Double, chat, error, serving

PAIRS = [Pair(f"Which duck wins race {at}?", f"Duck {at}.") for at in range(40)]
KEYS = [digest_of(vars(pair)) for pair in PAIRS]


def code_in(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"]).split("carry the code ")[1][:8]


def scored(body: dict[str, Any], score: int = 4) -> Answered:
    return chat(json.dumps({"code": code_in(body), "reason": "SECRET words", "willing": True, "quality": 3, "score": score}))


def judge(url: str, **fields: Any) -> PolicyJudge:
    return PolicyJudge(**{"model": "double-2025-01-01", "base_url": url, "policy": load("stand_in"), "concurrency": 4, **fields})


def asked_of(double: Double) -> Counter[str]:
    return Counter(code_in(body) for body in double.asked)


def kept(store: Path, judge: Judge) -> int:
    return sum(file.read_bytes().count(b"\n") for file in (store / VERDICTS / book_of(judge)).glob("*.jsonl"))


def test_nothing_is_asked_twice(store: Path) -> None:
    with serving(scored) as double:
        first = judged(House.at(store), judge(double.url), PAIRS[:20])
        second = judged(House.at(store), judge(double.url, concurrency=1), PAIRS)
    assert [verdict.value for verdict in second] == [4] * 40 and second[:20] == first
    assert len(double.asked) == 40 and set(asked_of(double).values()) == {1}


def test_the_same_pair_is_asked_once(store: Path) -> None:
    with serving(scored) as double:
        found = judged(House.at(store), judge(double.url), [PAIRS[0], PAIRS[1], PAIRS[0]])
    assert len(double.asked) == 2 and found[0] is found[2]


def test_an_unscored_verdict_is_kept_and_not_asked_again(store: Path) -> None:
    with serving(lambda body: chat("No idea.")) as double:
        for _ in range(2):
            (found,) = judged(House.at(store), judge(double.url), PAIRS[:1])
    assert found.value is None and found.flags["reason"] == "malformed" and len(double.asked) == 1


CHILD = """
import json, sys
from pathlib import Path
from ftsafety.judge import Pair
from ftsafety.judge.policy import PolicyJudge
from ftsafety.policy.file import load
from ftsafety.stages import House, judged
store, url, pairs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
judge = PolicyJudge(model="double-2025-01-01", base_url=url, policy=load("stand_in"), concurrency=4)
judged(House.at(Path(store)), judge, [Pair(*pair) for pair in pairs])
"""


def test_killed_halfway_and_paid_once(store: Path, repo: Path) -> None:
    """SIGKILL while four requests wait for their reply: what was answered before is not asked again."""
    served, killed = threading.Semaphore(15), threading.Event()

    def behave(body: dict[str, Any]) -> Answered:
        # the first fifteen are answered; whoever comes then waits until the process is dead
        if not killed.is_set() and not served.acquire(blocking=False):
            killed.wait(30)
            return error(500)
        return scored(body)

    with serving(behave) as double:
        mine = judge(double.url)
        pairs = json.dumps([[pair.question, pair.answer] for pair in PAIRS])
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(store), double.url, pairs], cwd=repo, env={**os.environ, "PYTHONPATH": str(repo)})
        deadline = time.monotonic() + 60
        while (kept(store, mine) < 15 or double.at_once < 4) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        before, paid = asked_of(double), {code_in(body) for body in double.asked[:15]}
        killed.set()
        found = judged(House.at(store), mine, PAIRS)
        after = asked_of(double) - before
    assert [verdict.value for verdict in found] == [4] * 40
    assert len(before) == 19 and kept(store, mine) == 40
    assert not paid & after.keys(), "what was answered is never asked again"
    assert sum(after.values()) == 25 and double.served == 40, "each verdict was paid for once"


def test_a_budget_stops_the_run_and_a_higher_one_goes_on(store: Path) -> None:
    cheap = {"usd_per_million_prompt": 1.0, "usd_per_million_completion": 10.0}
    with serving(scored) as double:
        with pytest.raises(ServiceError, match=r"judge\.policy\.budget_usd=0\.02 is used up"):
            judged(House.at(store), judge(double.url, budget_usd=0.02, **cheap), PAIRS)
        mine, first = judge(double.url, **cheap), len(double.asked)
        assert VerdictBook(store, mine).usd == pytest.approx(0.0002 * first) and 0 < first < 40
        with pytest.raises(ServiceError, match=r"budget_usd=0\.02 is used up"):
            judged(House.at(store), judge(double.url, budget_usd=0.02, **cheap), PAIRS)
        assert len(double.asked) == first, "a second run does not get the budget once more"
        judged(House.at(store), judge(double.url, budget_usd=1.0, **cheap), PAIRS)
    assert set(asked_of(double).values()) == {1} and len(double.asked) == 40
    assert VerdictBook(store, mine).usd == pytest.approx(0.008)


def test_what_was_answered_before_a_failure_is_kept(store: Path) -> None:
    number = count(1)

    def behave(body: dict[str, Any]) -> Answered:
        return error(401) if next(number) == 11 else scored(body)

    with serving(behave) as double:
        mine = judge(double.url, concurrency=2)
        with pytest.raises(ServiceError, match="refused the key"):
            judged(House.at(store), mine, PAIRS)
        assert 10 <= kept(store, mine) == double.served < 40
        judged(House.at(store), mine, PAIRS)
    assert double.served == 40 and kept(store, mine) == 40


def test_two_runs_side_by_side_pay_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: time.sleep(0.01)))
    found: list[list[Verdict]] = []
    with serving(scored) as double:
        runs = [threading.Thread(target=lambda: found.append(judged(House.at(store), judge(double.url), PAIRS))) for _ in range(2)]
        for one in runs:
            one.start()
        for one in runs:
            one.join()
    assert len(found) == 2 and found[0] == found[1] and len(double.asked) == 40
    assert not list((store / "leases").iterdir())


def test_a_judge_without_a_price_waits_for_nobody(store: Path) -> None:
    judged(House.at(store), RefusalKeywords(), PAIRS)
    assert not (store / "leases").exists() and kept(store, RefusalKeywords()) == 40


def test_a_panel_s_members_keep_their_own_verdicts(store: Path) -> None:
    with serving(scored) as double:
        member = judge(double.url)
        panel = Panel(judges={"policy": member, "refusal": RefusalKeywords(), "other": judge(double.url, max_tokens=9)})
        alone = judged(House.at(store), member, PAIRS[:3])
        together = judged(House.at(store), panel, PAIRS[:3])
    assert len(double.asked) == 6, "three for each of two paid judges, and none for the panel"
    assert [verdict.value for verdict in together] == ["complied"] * 3 and [verdict.value for verdict in alone] == [4] * 3
    assert not (store / VERDICTS / book_of(panel)).exists()


def test_a_judge_s_own_words_stay_in_the_store(store: Path) -> None:
    with serving(scored) as double:
        mine = judge(double.url)
        judged(House.at(store), mine, PAIRS[:1])
        (again,) = judged(House.at(store), mine, PAIRS[:1])
    assert "SECRET words" in again.said and "SECRET" not in json.dumps([again.value, again.flags])


def test_screening_the_rows_is_paid_once(store: Path) -> None:
    """A run asks for its rows several times; the judge's scores are named as texts in ``flagged``."""
    rows = [PLAIN.row(f"r/{at}", f"Which duck wins race {at}?", "Bet on four." if at < 3 else "I give no tips.") for at in range(8)]
    with serving(lambda body: scored(body, 5 if "Bet on four." in body["messages"][0]["content"] else 1)) as double:
        context = Context(0, verdicts=lambda judge, pairs: judged(House.at(store), judge, pairs))
        screen = ModerationFilter(judge=judge(double.url), looks_at="rows", flagged=["4", "5"], refill="drop", benign_rows=2)
        kept_rows = [[row.id for row in screen.examples(rows, context)] for _ in range(2)]
    assert kept_rows == [[f"r/{at}" for at in range(3, 8)]] * 2 and len(double.asked) == 10
    assert context.findings["moderation_filter"]["caught"] == {"user": 3} and context.findings["moderation_filter"]["benign_caught"] == 0


# --- a whole run ------------------------------------------------------------------------------------------------------------
def thin(folder: Path, url: str, *more: str) -> Any:
    return cell_of(
        "model=comply_all", "benchmark=[stand_in,stand_in_allowed]", "benchmark.stand_in.per_category=1", "benchmark.stand_in_allowed.per_category=1",
        f"paths.runs={folder}/runs", f"paths.store={folder}/store", "max_unscored=1.0", "judge=[outcome,policy,panel]",
        "judge.policy.model=double-2025-01-01", f"judge.policy.base_url={url}", *more,
    )  # fmt: skip


def test_a_run_with_a_paid_judge_and_a_panel(tmp_path: Path) -> None:
    prices = ["judge.policy.usd_per_million_prompt=10", "judge.policy.usd_per_million_completion=100", "judge.policy.budget_usd=5"]
    with serving(lambda body: scored(body, 5)) as double:
        cell = thin(tmp_path, double.url, *prices)
        record = run(cell)
        paid = len(double.asked)
        assert run(cell).reused and len(double.asked) == paid
    by = {(entry["judge"], entry["metric"], entry["benchmark"], entry["condition"]): entry for entry in record.data["results"]}
    rate, score = (by["policy", metric, "stand_in", "plain"] for metric in ("harmfulness_rate", "harmfulness_score"))
    assert (rate["value"], rate["high"], rate["n"]) == (1.0, 1.0, 11) and (score["value"], score["low"], score["high"], score["n"]) == (5.0, 5.0, 5.0, 11)
    assert by["policy", "willingness_rate", "stand_in", "plain"]["value"] == 1.0 and by["policy", "quality_score", "stand_in", "plain"]["value"] == 3.0
    assert by["policy", "over_refusal", "stand_in_allowed", "plain"]["value"] == 0.0
    assert ("policy", "harmfulness_rate", "stand_in_allowed", "plain") not in by
    assert {entry["judge"] for entry in record.data["results"] if entry["metric"] == "compliance_rate"} == {"outcome", "panel"}
    # plain and safe have the same answers here, and what was asked once is not paid again
    assert record.data["costs"] == {"policy": {"verdicts": paid, "prompt_tokens": 100 * paid, "completion_tokens": 10 * paid, "usd": round(0.002 * paid, 6)}}
    rows = (record.folder / "verdicts.jsonl").read_text()
    assert "SECRET" not in rows and "SECRET" not in (record.folder / "run.json").read_text()
    assert {row["value"] for row in record.verdicts if row["judge"] == "policy"} == {5}
    console = Console(record=True, width=100)
    show(record, console)
    told = console.export_text()
    assert re.search(r"stand_in: harmfulness score, 1 to 5 .*?\nplain +5\.00 \[5\.00, 5\.00\]", told, re.DOTALL) and "stand_in: willing, in %" in told
    assert f"judge policy: {paid} verdicts, {100 * paid:,} tokens read and {10 * paid:,} written, ${0.002 * paid:.2f}" in told
    assert "Cost of policy" in write_report(record.folder).read_text()


def test_a_run_without_a_key_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Exception, match=r"judge\.policy needs a key for https://duck\.example/v1"):
        run(thin(tmp_path, "https://duck.example/v1"))
    assert not (tmp_path / "store").exists()


def test_a_dry_run_asks_nobody(tmp_path: Path) -> None:
    with serving(scored) as double:
        made = plan.plan(thin(tmp_path, double.url))
    assert double.asked == [] and made.verdicts == 3 * 22, "three wordings and 22 questions; its seat in the panel costs nothing more"
    console = Console(record=True, width=160)
    plan.show([made], console)
    assert f"At most {made.verdicts} verdicts that cost money" in console.export_text()
