"""The example distribution, really installed: found, listed, composed, built; and what a clash and a broken plugin do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
EXAMPLE = Path(__file__).resolve().parents[2] / "plugins" / "ftsafety-plugin-example"
BUILD = """
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from ftsafety.build import build
from ftsafety.judge import Judge, Pair
from ftsafety.plugins import register
from ftsafety.settings import Root
ConfigStore.instance().store(name="root_schema", node=Root)
register()
with initialize_config_module("ftsafety.conf", version_base="1.3"):
    judge = build(compose("config", ["judge=[length]", "judge.length.words=3"]).judge.length, Judge, "judge.length")
print([verdict.value for verdict in judge.score([Pair("?", "one two"), Pair("?", "one two three")])])
"""


def install(source: Path, target: Path) -> Path:
    """Install a distribution into a folder, offline, from a copy that the build may write into."""
    copy = target.parent / f"source-{target.name}"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--target", str(target)]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return target


def write_plugin(folder: Path, name: str, option: str, module: str) -> Path:
    """A plugin as an installation leaves it: a package with a judge's option and its ``dist-info``."""
    package = folder / name
    (package / "conf" / "judge").mkdir(parents=True)
    (package / "__init__.py").write_text(module)
    (package / "judge.py").write_text(module)
    (package / "conf" / "judge" / f"{option}.yaml").write_text(f"# @package judge.{option}\n_target_: {name}.judge.Other\n")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ftsafety.plugins]\n{name} = {name}\n")
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(EXAMPLE, tmp_path_factory.mktemp("example") / "site")


def test_listed_with_its_owner(command: Command, installed: Path) -> None:
    done = command("ftsafety.list", path=(installed,))
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.startswith("length "))
    assert lines[at + 1 : at + 3] == ["words", "plugin: example"]


def test_composes_beside_the_core(command: Command, installed: Path) -> None:
    done = command("ftsafety", "--cfg", "job", "judge=[outcome,length]", path=(installed,))
    assert done.returncode == 0, done.stderr
    assert "_target_: ftsafety_plugin_example.length.Length" in done.stdout
    assert "_target_: ftsafety.judge.outcome.OutcomeJudge" in done.stdout


def test_a_misspelt_option_is_told_of_the_plugins(command: Command, installed: Path) -> None:
    done = command("ftsafety", "judge=[lenght]", path=(installed,))
    assert done.returncode == 1
    assert "Did you mean length?" in done.stderr


def test_builds_and_scores(installed: Path, repo: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, timeout=120, env={"PYTHONPATH": f"{installed}:{repo}"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['short', 'long']"


@pytest.mark.parametrize(("option", "others"), [("length", ["example"]), ("outcome", ["ftsafety"])])
@pytest.mark.parametrize("arguments", [("ftsafety.list",), ("ftsafety",)])
def test_a_clash_names_both(command: Command, installed: Path, tmp_path: Path, option: str, others: list[str], arguments: tuple[str, ...]) -> None:
    rival = write_plugin(tmp_path / "rival", "rival_plugin", option, "")
    done = command(*arguments, path=(installed, rival))
    assert done.returncode == 1
    assert f"judge={option}" in done.stderr
    assert all(name in done.stderr for name in ["rival_plugin", *others])
    assert "Traceback" not in done.stderr


def test_a_broken_plugin_does_not_break_help(command: Command, tmp_path: Path) -> None:
    broken = write_plugin(tmp_path / "broken", "broken_plugin", "broken", "raise RuntimeError('broken')\n")
    done = command("ftsafety", "--help", path=(broken,))
    assert done.returncode == 0, done.stderr
    assert "broken" in done.stdout, "its option is still offered"
