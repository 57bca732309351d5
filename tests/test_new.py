"""The scaffold: every noun's plugin works as it is written, bad words are refused with nothing written, and the page that teaches it is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ftsafety import plugins
from ftsafety.list import COMPONENT_GROUPS
from ftsafety.mitigation import Mitigation
from ftsafety.new import FOLDER, LONGEST, NOUNS, QUICK, main, write

Run = Callable[..., "subprocess.CompletedProcess[str]"]
REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / "docs" / "plugins.md"
each_noun = pytest.mark.parametrize("noun", NOUNS)


def test_there_are_templates_for_every_noun_and_a_group_of_its_name() -> None:
    assert {folder.name for folder in FOLDER.iterdir()} == {*NOUNS, "common"}
    assert set(NOUNS) < set(COMPONENT_GROUPS)


# --- what is written works -------------------------------------------------------------------------------------------------
def as_installed(folder: Path) -> Path:
    """The folder of a distribution as an installation leaves it: with the metadata that an entry point is found by."""
    (package,) = folder.glob("ftsafety_plugin_*")
    name = package.name.removeprefix("ftsafety_plugin_")
    entry = f"[ftsafety.plugins]\n{name} = {package.name}\n"
    assert entry.partition("\n")[2] in (folder / "setup.cfg").read_text().replace("\n    ", "\n")
    info = folder / f"{package.name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(entry)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plugin for every noun."""
    folder = tmp_path_factory.mktemp("written")
    return {noun: as_installed(write(noun, f"duck_{noun}", folder / noun)) for noun in NOUNS}


@pytest.fixture(scope="module")
def outcomes(written: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """What came of the tests that were written, by noun: each test's name and what is wrong with it."""
    report = tmp_path_factory.mktemp("outcomes") / "report.xml"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*written.values(), REPO]))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", f"--junitxml={report}"]
    done = subprocess.run([*command, *map(str, written.values())], cwd=report.parent, env=environment, capture_output=True, text=True, timeout=280)
    assert report.exists(), done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    told = [(case.get("classname", ""), case.get("name", ""), "".join(part.text or part.get("message", "") for part in case)) for case in cases]
    return {noun: [(name, wrong) for module, name, wrong in told if f"test_duck_{noun}" in module] for noun in NOUNS}


@each_noun
def test_a_scaffold_is_listed_builds_runs_and_keeps_what_it_promises(outcomes: dict[str, list[tuple[str, str]]], noun: str) -> None:
    assert [f"{name}: {wrong}" for name, wrong in outcomes[noun] if wrong] == []
    promised = {name.partition("[")[0] for name, _ in outcomes[noun]}
    runs = {
        "attack": "test_runs_on_the_tiny_model_and_moves_its_weights",
        "strategy": "test_runs_on_the_tiny_model_and_moves_its_weights",
        "mitigation": "test_off_is_plain_tuning_bit_for_bit_and_on_is_another",
        "policy": "test_composes_into_a_run",
        "benchmark": "test_is_asked_in_a_run",
        "judge": "test_judges_a_run",
    }
    assert runs[noun] in promised and len(promised) >= 4


@pytest.mark.parametrize("letters", [1, LONGEST])
def test_code_and_tests_pass_the_projects_own_linter(tmp_path: Path, letters: int) -> None:
    folders = [write(noun, "quacking_" * (letters // 9) + "e" * (letters % 9 - 1) + noun[0], tmp_path / noun) for noun in NOUNS]
    assert len(list(tmp_path.rglob("*.py"))) == 3 * len(NOUNS) - 1, "a policy has no class"
    for check in (["check"], ["format", "--check"]):
        for cwd, config in ((REPO, ["--config", "pyproject.toml"]), (tmp_path, [])):
            done = subprocess.run([sys.executable, "-m", "ruff", *check, "--no-cache", *config, *folders], cwd=cwd, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


def test_classes_pass_the_projects_own_type_checker(written: dict[str, Path]) -> None:
    packages = [str(folder / f"ftsafety_plugin_duck_{noun}") for noun, folder in written.items()]
    done = subprocess.run([sys.executable, "-m", "mypy", *packages], cwd=REPO, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


# --- what is refused -------------------------------------------------------------------------------------------------------
REFUSED = {
    "mitigation MyIdea": "'MyIdea' can't be a name; a name is lower_snake",
    "mitigation my-idea": "'my-idea' can't be a name",
    "mitigation my__idea": "'my__idea' can't be a name",
    "mitigation 2nd_idea": "'2nd_idea' can't be a name",
    "mitigation ../idea": "'../idea' can't be a name",
    "mitigation идея": "can't be a name",
    "mitigation lambda": "lambda is a word of Python's and can't be a name; give another, such as my_lambda.",
    "mitigation none": "none is a word of Python's",
    "mitigation off": "off is a value in YAML",
    "mitigation null": "null is a value in YAML",
    "mitigation nan": "nan is a value in YAML",
    "mitigation mitigation": "mitigation would be a class Mitigation, and its module needs another of that name; give another, such as my_mitigation.",
    "attack row": "row would be a class Row",
    "strategy any": "any would be a class Any",
    f"mitigation {'a' * (LONGEST + 1)}": f"has {LONGEST + 1} characters, and a name has at most {LONGEST}",
    "mitigation safety_mixing": "safety_mixing is taken: mitigation=safety_mixing is an option of ftsafety (python -m ftsafety.list shows all)",
    "judge lora": "lora is taken: strategy=lora is an option of ftsafety",
    "mitigtion my_idea": "no plugin can be written for mitigtion; it is one of attack, strategy, mitigation, policy, benchmark, judge. Did you mean",
    "model my_idea": "no plugin can be written for model",
    "mitigation": "the following arguments are required: NAME; type e.g. python -m ftsafety.new mitigation my_idea.",
    "mitigation my_idea --foldr=x": "unrecognized arguments: --foldr=x",
}


@pytest.mark.parametrize("words", REFUSED)
def test_bad_words_are_refused_with_a_sentence_and_nothing_is_written(work: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert main(words.split()) == 1
    out, err = capsys.readouterr()
    assert not out and REFUSED[words] in " ".join(err.split()) and "Traceback" not in err
    assert list(work.iterdir()) == []


def test_a_plugins_own_name_is_taken_although_no_option_has_it(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "ftsafety_plugin_ducks").mkdir()
    monkeypatch.syspath_prepend(work)
    assert main(["mitigation", "ducks"]) == 1
    assert "ducks is taken: a plugin of that name is installed (ftsafety_plugin_ducks)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("entry", ["folder", "file"])
def test_an_existing_folder_is_left_as_it_is(work: Path, capsys: pytest.CaptureFixture[str], entry: str) -> None:
    place = work / "mine"
    place.mkdir() if entry == "folder" else place.write_text("mine")
    assert main(["mitigation", "my_idea", "--folder", "mine"]) == 1
    assert "mine exists already, and nothing is written over; give another folder with --folder." in capsys.readouterr().err
    assert list(work.rglob("*")) == [place] and (entry == "folder" or place.read_text() == "mine")


def test_a_folder_that_cannot_be_made_is_a_sentence(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "file").write_text("")
    assert main(["mitigation", "my_idea", "--folder", "file/mine"]) == 1
    assert "file/mine can't be written (Not a directory); give another folder with --folder." in capsys.readouterr().err


def test_says_where_it_is_and_what_to_type(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mitigation", "my_idea"]) == 0
    out = capsys.readouterr().out
    assert (work / "ftsafety-plugin-my-idea" / "ftsafety_plugin_my_idea" / "my_idea.py").is_file()
    assert (
        "ftsafety-plugin-my-idea/ftsafety_plugin_my_idea/my_idea.py" in out
        and "python -m ftsafety +attack=identity_shift mitigation=[my_idea] model=tiny" in out
    )
    assert main(["policy", "my_rules", "--folder", "deep/rules"]) == 0
    assert (work / "deep" / "rules" / "ftsafety_plugin_my_rules" / "conf" / "policy" / "my_rules.yaml").is_file()


# --- the page --------------------------------------------------------------------------------------------------------------
def test_the_page_names_every_hook_of_a_mitigation_and_every_other_noun() -> None:
    text = PAGE.read_text()
    hooks = [name for name, value in vars(Mitigation).items() if callable(value) and not name.startswith("_")]
    assert len(hooks) > 15 and [hook for hook in hooks if f"`{hook}`" not in text.partition("hook by hook")[2]] == []
    assert [noun for noun in NOUNS if noun != "mitigation" and not re.search(rf"^\| {noun} \|", text, re.MULTILINE)] == []


def files_of_the_page() -> dict[str, str]:
    """The files that the page writes, by their place in the plugin's folder."""
    found = re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```\n", PAGE.read_text(), re.DOTALL)
    assert len(found) == 3
    return dict(found)


def commands_of_the_page() -> list[str]:
    return re.findall(r"```bash\n(.*?)```\n", PAGE.read_text(), re.DOTALL)


def test_the_pages_example_is_about_thirty_lines_and_passes_the_linter(tmp_path: Path) -> None:
    folder = write("mitigation", "short_leash", tmp_path / "leash")
    for place, text in files_of_the_page().items():
        assert (folder / place).is_file()
        (folder / place).write_text(text)
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", "--config", "pyproject.toml", folder], cwd=REPO, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([sys.executable, "-m", "mypy", folder / "ftsafety_plugin_short_leash"], cwd=REPO, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Run]:
    """``shell(*lines)``: bash in a folder outside the checkout, with a new environment that borrows this one's libraries and downloads nothing."""
    environment, folder = tmp_path / "environment", tmp_path / "outside"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    (site,) = environment.glob("lib/python*/site-packages")
    # addsitedir, so that the finders of distributions that are installed editable are borrowed, too
    (site / "borrowed.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "FTSAFETY_"))}
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    told = {**kept, **offline, "PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "FTSAFETY_STORE": str(tmp_path / "store"), "COLUMNS": "160"}

    def run(*lines: str) -> subprocess.CompletedProcess[str]:
        script = "\n".join(["set -eu", *lines])
        return subprocess.run(["bash", "-c", script], cwd=folder, env=told, capture_output=True, text=True, timeout=1500)

    yield run


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_plugin_written_from_the_page_alone_is_listed_composes_runs_and_sweeps(shell: Run, tmp_path: Path) -> None:
    first, second = commands_of_the_page()
    listed = ok(shell(first))
    lines = [line.strip() for line in listed.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.startswith("short_leash "))
    assert "plugin: short_leash" in lines[at : at + 6]
    folder = tmp_path / "outside" / "ftsafety-plugin-short-leash"
    for place, text in files_of_the_page().items():
        (folder / place).write_text(text)
    ok(shell(f"cd {folder.name}", second))
    store, runs = tmp_path / "store", folder / "runs"
    assert len(list(runs.glob("identity_shift-lora-short_leash-*/seed=0/DONE"))) == 3
    assert len(list((store / "tune").iterdir())) == 1, "three radii repair one tuning"
    assert len(list((store / "repair").iterdir())) == 3
    assert sum("short_leash" in line for line in (folder / "all.csv").read_text().splitlines()) >= 3
    composed = ok(shell(f"cd {folder.name}", "python -m ftsafety --cfg job +attack=identity_shift mitigation=[short_leash]"))
    assert "_target_: ftsafety_plugin_short_leash.short_leash.ShortLeash" in composed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_scaffold_is_installed_by_pip_and_two_run_as_their_readme_says(shell: Run, tmp_path: Path) -> None:
    made = [f"python -m ftsafety.new {noun} duck_{noun} --folder {noun}" for noun in NOUNS]
    listed = ok(shell(*made, *[f"python -m pip install './{noun}[test]'" for noun in NOUNS], f"rm -r {' '.join(NOUNS)}", "python -m ftsafety.list"))
    assert [noun for noun in NOUNS if f"plugin: duck_{noun}" not in listed] == []
    for noun in ("attack", "mitigation"):
        ok(shell(f"python -m ftsafety {NOUNS[noun][0].format(name=f'duck_{noun}')} {QUICK}"))
    done = [place.parents[1].name.rpartition("-")[0] for place in (tmp_path / "outside").glob("runs/*/seed=0/DONE")]
    assert sorted(done) == ["duck_attack-lora-none", "identity_shift-lora-duck_mitigation"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What is installed is looked up anew."""
    plugins.sources.cache_clear()
    yield
    plugins.sources.cache_clear()
