"""The command line: help and the list at once, and each mistake one sentence with nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftsafety import cli
from ftsafety.list import options

Command = Callable[..., "subprocess.CompletedProcess[str]"]
GROUPS = ("model", "attack", "strategy", "mitigation", "benchmark", "judge")
HEAVY = """
import sys
from ftsafety.cli import main
try:
    code = main()
except SystemExit as stop:
    code = stop.code
print("HEAVY", code or 0, [name for name in ("torch", "transformers", "wandb", "pytorch_lightning", "peft", "datasets") if name in sys.modules])
"""
GOOD = '{"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}]}\n'


@pytest.fixture
def mistake(work: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``mistake("sed=1")``: run the command line in this process; what stands on stderr, once it is known to be a sentence that leaves nothing."""
    import ftsafety.cell

    build = ftsafety.cell.build_cell

    def build_but_not_run(*arguments: Any) -> Any:
        build(*arguments)
        raise AssertionError("the configuration was built")

    def run(*arguments: str) -> str:
        before = sorted(work.rglob("*"))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ftsafety", *arguments])
            patch.setattr(ftsafety.cell, "build_cell", build_but_not_run)
            patch.setenv("HYDRA_FULL_ERROR", "1")
            code = cli.main()
        out, err = capsys.readouterr()
        assert code == 1
        assert out == ""
        assert "Traceback" not in err
        assert sorted(work.rglob("*")) == before
        assert not store.exists()
        return err.strip()

    return run


def test_help_is_light_and_shows_the_groups(repo: Path, work: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HEAVY, "--help"], cwd=work, env={"PYTHONPATH": str(repo)}, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().splitlines()[-1] == "HEAVY 0 []", done.stdout[-500:] + done.stderr
    assert all(f"{group}: " in done.stdout for group in GROUPS)
    assert list(work.iterdir()) == []


def test_a_mistake_is_light(repo: Path, work: Path) -> None:
    command = [sys.executable, "-c", HEAVY, "+attack=identity_shift", "attack.variant=3"]
    done = subprocess.run(command, cwd=work, env={"PYTHONPATH": str(repo)}, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "HEAVY 1 []", done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(work.iterdir()) == []


def test_the_exit_code_reaches_the_shell(command: Command, work: Path) -> None:
    done = command("ftsafety", "sed=1", cwd=work)
    assert done.returncode == 1
    assert done.stderr.endswith("Did you mean seed?\n")
    assert list(work.iterdir()) == []


def test_the_list_shows_every_file(command: Command, repo: Path) -> None:
    done = command("ftsafety.list")
    assert done.returncode == 0, done.stderr
    shown = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    files = [file.relative_to(repo / "conf").with_suffix("").as_posix().partition("/") for file in sorted((repo / "conf").glob("*/**/*.yaml"))]
    assert files
    assert {name for _, _, name in files} | {group for group, _, _ in files} <= shown


def test_every_option_says_what_it_is() -> None:
    found = options()
    assert found
    assert [f"{option.group}={option.name}" for option in found if not option.line.strip()] == []


ATTACKS = ", ".join(option.name for option in options() if option.group == "attack")

SENTENCES = {
    "strategy.lr=abc": "strategy.lr=abc is not possible; it takes a number.",
    "+attack=identity_shift attack.epoch=3": "attack.epoch does not exist; attack takes variant, identity, answer_prefix.",
    "+attack=identity_shift +attack.epoch=3": "attack.epoch does not exist; attack takes variant, identity, answer_prefix.",
    "attack=identity_shift attack.variant=5+5": "type +attack=identity_shift (attack=identity_shift where an experiment has chosen one).",
    "attack.epoch=3": f"attack is one of {ATTACKS}. Type +attack=NAME (attack=NAME where an experiment has chosen one) as well.",
    "+attack.epoch=3": "python -m ftsafety.list shows them",
    "attack=identity_shift": "type +attack=identity_shift (attack=identity_shift where an experiment has chosen one).",
    "attack=identity_shfit": "Did you mean identity_shift? Type +attack=NAME",
    "+attack=nope": f"attack is one of {ATTACKS}.",
    "+attack=jsonl": "attack.path is missing; type attack.path=VALUE (a path).",
    "+attack=jsonl attack.path=missing.jsonl": "attack.path=missing.jsonl is not a file; give a JSON Lines file",
    "judge=refusl": "Did you mean refusal? Type judge=[NAME,NAME].",
    "judge=[outcome,refusl]": "Did you mean refusal? Type judge=[NAME,NAME].",
    "judge=[outcome] judge.refusal.keywords=paper": "judge.refusal is not part of this run; type judge=[outcome,refusal] to add it.",
    "judge.refusl.keywords=paper": "Did you mean refusal?",
    "judge.refusal.keyword=paper": "judge.refusal takes keywords, path. Did you mean keywords?",
    "+judge@judge.second=refusal judge.second.keyword=paper": "judge.second takes keywords, path. Did you mean keywords?",
    "sed=1": "sed does not exist; a run takes model, attack,",
    "+sed=1": "sed does not exist; a run takes model, attack,",
    "seed=abc": "seed=abc is not possible; it takes a whole number.",
    "seed.x=1": "seed.x does not exist; seed is a whole number.",
    "seed=0,1": "type -m seed=0,1 to run them one after the other",
    "controls=maybe": "controls=maybe is not possible; it takes true or false.",
    "model=nope": "model is one of comply_all, gemma3, hf,",
    "+model=tiny": "type model=tiny.",
    "strategy=": "strategy= names no option; strategy is one of api, dora, full, ia3,",
    "strategy": "'strategy' can't be read; write GROUP=NAME",
    "tuning.epoch=3": "Did you mean epochs?",
    "tuning.epochs=abc": "tuning.epochs=abc is not possible; it takes a whole number.",
    "tuning.schedule=fast": "it takes one of constant, step, cosine, linear.",
    "tuning=3": "type e.g. tuning.epochs=VALUE.",
    "align=sft align.tuning.epoch=3": "align.tuning takes epochs,",
    "experiment=align_stand_in align.sed=3": "align.sed does not exist; align takes tuning, seed,",
    "~nothing": "~nothing can't be removed",
    "--config-name=nope": "there is no configuration nope",
    "hydra.nope=1": "python -m ftsafety --cfg hydra shows them.",
}
"""What is typed, and the part of the answer that says what is possible."""


@pytest.mark.parametrize("typed", SENTENCES)
def test_a_mistake_is_one_sentence(mistake: Callable[..., str], typed: str) -> None:
    said = mistake(*typed.split())
    assert SENTENCES[typed] in said
    assert len(said.splitlines()) == 1


def test_a_bad_line_of_a_jsonl_is_named(mistake: Callable[..., str], work: Path) -> None:
    (work / "mine.jsonl").write_text(GOOD + '{"messages": []}\n' + GOOD + "{not json\n")
    said = mistake("+attack=jsonl", "attack.path=mine.jsonl")
    assert said.startswith("2 of 4 rows can't be used; mend or remove them:")
    assert "mine.jsonl:2: no list" in said
    assert "mine.jsonl:4: " in said


def test_an_empty_jsonl(mistake: Callable[..., str], work: Path) -> None:
    (work / "mine.jsonl").write_text("\n")
    assert mistake("+attack=jsonl", "attack.path=mine.jsonl").startswith("mine.jsonl holds no rows; each line is an object with messages")
