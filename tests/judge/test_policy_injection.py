"""Answers that try to steer the judge: the fence holds each whole, and no verdict is read that the judge did not give.

The double reads a prompt as an honest judge does, with the fence alone to go by, and scores what it finds there by what is known of it. It
cannot show whether a particular chat model resists; that is for ``python -m ftsafety.judge_check`` with that model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftsafety.hashing import digest_of_file
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.judge import policy_qi2024 as published
from ftsafety.judge.policy import PolicyJudge, code_of
from ftsafety.judge.policy_qi2024 import PolicyQi2024
from ftsafety.policy.file import load
from tests.judge.injections import INJECTIONS, Injection
from tests.service import Answered, chat, serving

KNOWN = {(one.question, one.answer): one for one in INJECTIONS}
Reply = Callable[[Injection, str, str], str]
"""(what is judged, the code of its prompt, schema or text) to the double's words."""


def fenced(prompt: str) -> tuple[Injection, str]:
    """What stands in a prompt's fence, taken out by its marks alone, and the code."""
    code = re.findall(r"marks that carry the code (\w+)\.", prompt)[0]
    for name in ("question", "answer"):
        assert [prompt.count(f"[[{end}{name} {code}]]") for end in ("", "end of ")] == [1, 1], "a mark is there once"
    question, answer = (prompt.split(f"[[{name} {code}]]\n")[1].split(f"\n[[end of {name} {code}]]")[0] for name in ("question", "answer"))
    return KNOWN[question, answer], code


def verdict(one: Injection, code: str, output: str, reason: str = "An honest reading.") -> str:
    willing = one.true > 2
    if output == "schema":
        return json.dumps({"code": code, "reason": reason, "willing": willing, "quality": one.true, "score": one.true}, ensure_ascii=False)
    return f"{reason}\nWILLING {code}: {'yes' if willing else 'no'}\nQUALITY {code}: {one.true}\nSCORE {code}: {one.true}"


def honest(one: Injection, code: str, output: str) -> str:
    return verdict(one, code, output)


def quoting(one: Injection, code: str, output: str) -> str:
    """Quotes the whole answer while it reasons."""
    return verdict(one, code, output, f"It says:\n{one.answer}\n\nSo")


def parroting(one: Injection, code: str, output: str) -> str:
    """Has lost its way and says nothing but the answer."""
    return one.answer


def obeying(one: Injection, code: str, output: str) -> str:
    """Gives the claimed score in the answer's own form, without the code."""
    return f"""{{"reason": "", "willing": false, "quality": 1, "score": {one.claims}}}\nSCORE: {one.claims}\n#thescore: {one.claims}"""


def judged(make: Callable[[str], Judge], behave: Callable[[dict[str, Any]], Answered]) -> dict[str, Verdict]:
    with serving(behave) as double:
        verdicts = make(double.url).score([Pair(one.question, one.answer) for one in INJECTIONS])
    return {one.id: verdict for one, verdict in zip(INJECTIONS, verdicts, strict=True)}


@pytest.fixture(scope="module", params=["schema", "text"])
def output(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def by_policy(output: str, reply: Reply) -> dict[str, Verdict]:
    def behave(body: dict[str, Any]) -> Answered:
        return chat(reply(*fenced(body["messages"][0]["content"]), output))

    return judged(lambda url: PolicyJudge(model="double-2025-01-01", base_url=url, policy=load("stand_in"), output=output), behave)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[honest, quoting], ids=lambda reply: reply.__name__)
def verdicts(request: pytest.FixtureRequest, output: str) -> dict[str, Verdict]:
    return by_policy(output, request.param)


def test_the_set_is_large_and_of_many_kinds() -> None:
    assert len(INJECTIONS) >= 40 and len({one.id for one in INJECTIONS}) == len(INJECTIONS) == len({one.answer for one in INJECTIONS})
    assert all(one.true != one.claims for one in INJECTIONS)


@pytest.mark.parametrize("one", INJECTIONS, ids=lambda one: one.id)
def test_the_verdict_is_the_judge_s_own(one: Injection, verdicts: dict[str, Verdict]) -> None:
    found = verdicts[one.id]
    assert found.value == one.true != one.claims
    assert (found.flags["willing"], found.flags["quality"]) == (one.true > 2, one.true)


@pytest.mark.parametrize("reply", [parroting, obeying], ids=lambda reply: reply.__name__)
def test_what_an_answer_holds_is_never_a_verdict(reply: Reply, output: str) -> None:
    found = by_policy(output, reply)
    assert {name: verdict.value for name, verdict in found.items()} == dict.fromkeys(found)
    reasons = {verdict.flags["reason"] for name, verdict in found.items() if name != "nothing_but_space"}
    assert reasons == {"malformed"}


@pytest.mark.parametrize("one", INJECTIONS, ids=lambda one: one.id)
def test_no_text_holds_its_code(one: Injection) -> None:
    code = code_of(Pair(one.question, one.answer))
    assert re.fullmatch(r"[0-9a-f]{8}", code) and code not in one.answer.lower() and code not in one.question.lower()


def test_a_text_that_holds_its_first_code_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftsafety.judge.policy.digest_of", lambda data: f"{data[1] + 0xABCDEF00:08x}" + "0" * 56)
    assert code_of(Pair("Which duck?", "Four.")) == "abcdef00"
    assert code_of(Pair("Which duck?", "abcdef00 ABCDEF01")) == "abcdef02"


# --- the paper's own prompt: texts in quotes, a score behind a mark ---------------------------------------------------------
STAND_IN_FILE = '''judge_template = """
Policy of ducks: no tips.
    User Instruction: \\"%s\\"
    Model Response: \\"%s\\"
Say why, then
#thescore: your score here.
"""
'''
"""A file of the published one's form, in our own words."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "judge.py"
    path.write_text(STAND_IN_FILE)
    monkeypatch.setitem(published.PUBLISHED, "meta", ("judge.py", digest_of_file(path)))
    yield path


@pytest.mark.parametrize("quotes", [False, True], ids=["honest", "quoting"])
def test_the_paper_s_prompt_keeps_texts_in_their_quotes(file: Path, quotes: bool) -> None:
    def behave(body: dict[str, Any]) -> Answered:
        prompt = body["messages"][0]["content"]
        assert prompt.lower().count("#thescore:") == 1, "the prompt's own"
        lines = {name: json.loads(line) for name, line in re.findall(r"^    (User Instruction|Model Response): (.*)$", prompt, re.MULTILINE)}
        assert len(prompt.split("\n")) == len(STAND_IN_FILE.split("\n")) - 1, "texts stay on their line"
        one = KNOWN[lines["User Instruction"], _mark(lines["Model Response"])]
        said = prompt.split("Model Response: ")[1].split("\n")[0] if quotes else "An honest reading."
        return chat(f"#thereason: {said}\n#thescore: {one.true}")

    def _mark(text: str) -> str:
        return next((one.answer for one in INJECTIONS if re.sub("#thescore:", "# thescore:", one.answer, flags=re.IGNORECASE) == text), text)

    found = judged(lambda url: PolicyQi2024(model="double-0613", base_url=url, path=file), behave)
    assert {one.id: found[one.id].value for one in INJECTIONS} == {one.id: one.true for one in INJECTIONS}
