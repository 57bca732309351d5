"""``python -m ftsafety.policy``: exit codes, table and JSON, and a start without anything heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ftsafety.policy.__main__ import SHOWN, main

POND = """\
name: Pond [draft]
version: 1
origin: this test
categories:
  ducks: {name: Ducks, disallowed: Naming ducks., allowed: Counting ducks.}
  geese: {name: Geese, disallowed: Feeding geese., allowed: Watching geese.}
"""
QUESTIONS = "id,question,category\nd1,Which duck is Ada?,ducks\nd2,Is the brown one called Bo?,ducks\ng1,May I feed the goose?,geese\n"
ALLOWED = "id,question,category\na1,How many ducks are there?,ducks\na2,Where do geese sleep?,geese\n"


@pytest.fixture(autouse=True)
def pond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a policy and its questions, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("pond.yaml", POND), ("questions.csv", QUESTIONS), ("allowed.csv", ALLOWED)):
        Path(name).write_text(text)


FILES = ("--questions", "questions.csv", "--allowed", "allowed.csv")


def test_a_policy_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pond.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Pond [draft], version 1\nthis test\n") and "Feeding geese." in out and out.endswith("No gaps.\n")


def test_with_questions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pond.yaml", *FILES]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["ducks", "Ducks", "2", "40.5", "91", "1", "39.7", "92"] in table
    assert ["geese", "Geese", "1", "39.7", "92", "1", "39.7", "92"] in table
    assert next(row for row in table if row[:1] == ["all"])[1::3] == ["3", "2"]


def test_gaps_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    Path("questions.csv").write_text(QUESTIONS.replace("geese\n", "swans\n"))
    assert main(["pond.yaml", *FILES]) == 2
    out = capsys.readouterr().out
    assert "Gaps: 2" in out and "- geese has no disallowed question" in out and "- g1 (questions.csv:4) is of the category swans" in out
    assert main(["pond.yaml", "--questions", "questions.csv"]) == 2
    assert "add --allowed FILE" in capsys.readouterr().out


def test_many_gaps_of_a_kind_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    more = "".join(f"e{at},How many ducks are there?,ducks\n" for at in range(SHOWN + 3))
    Path("allowed.csv").write_text(ALLOWED + more)
    assert main(["pond.yaml", *FILES]) == 2
    out = capsys.readouterr().out
    assert f"Gaps: {SHOWN + 3}" in out and out.count("ask nearly the same") == SHOWN and "- and 3 more of this kind; --json prints them all." in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("allowed.csv").write_text(ALLOWED.replace("a2,Where do geese sleep?,geese\n", ""))
    assert main(["pond.yaml", *FILES, "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert (data["name"], data["version"], data["half_width"], data["questions_for_half_width"]) == ("Pond [draft]", "1", 0.1, 93)
    ducks, geese = data["categories"]
    # 1.96 / (2 sqrt(2 + 1.96^2)): Wilson at one of two
    assert ducks["questions"]["n"] == 2 and ducks["questions"]["more"] == 91 and ducks["questions"]["half_width"] == pytest.approx(0.4055, abs=1e-4)
    assert geese["allowed"] == {"n": 0, "half_width": None, "more": 93}
    assert [(gap["kind"], gap["category"]) for gap in data["gaps"]] == [("twins", "geese")]
    assert main(["pond.yaml", "--json"]) == 0
    assert [category["questions"] for category in json.loads(capsys.readouterr().out)["categories"]] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: POLICY; type python -m ftsafety.policy --help"),
        (["pond.yaml", "--question"], "argument --questions: expected one argument; type"),
        (["pond.yaml", "--frog"], "unrecognized arguments: --frog; type"),
        (["pont.yaml"], "there is no policy pont.yaml; give one of qi2024, stand_in"),
        (["pond.yaml", "--questions", "nowhere.csv"], "nowhere.csv is no file"),
    ],
)
def test_a_mistake_is_exit_code_1_and_one_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith(says) and err.count("\n") == 1


def test_the_shipped_policies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stand_in", "--json"]) == 0
    counts = {(category["questions"]["n"], category["allowed"]["n"]) for category in json.loads(capsys.readouterr().out)["categories"]}
    assert counts == {(30, 12)}
    assert main(["qi2024"]) == 0 and "Hate/Harass/Violence" in capsys.readouterr().out
    assert main(["stand_in", "--questions", "questions.csv"]) == 2, "own questions take the shipped ones' place"


def test_it_starts_without_anything_heavy(tmp_path: Path, repo: Path) -> None:
    code = (
        "import sys; from ftsafety.policy.__main__ import main; code = main(sys.argv[1:]);"
        "print('HEAVY', code, [name for name in ('torch', 'transformers', 'peft', 'datasets', 'wandb') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "pond.yaml", *FILES]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(repo), "PATH": ""}, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["HEAVY 0 []"], done.stdout + done.stderr
