"""The list of options: every YAML is in it, and two owners of one name are an error that names both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ftsafety import plugins
from ftsafety.errors import ConfigError
from ftsafety.list import COMPONENT_GROUPS, main, options

CONF = Path(__file__).resolve().parents[1] / "conf"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(name, *files)``: a plugin whose package has these files under ``conf``; none makes a package without it."""
    points: list[EntryPoint] = []

    def add(name: str, *files: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('a plugin is found, not imported')")
        for file in files:
            path = tmp_path / name / "conf" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("# A file of a plugin.\n_target_: ftsafety.attack.benign.Benign\ncount: 3\n")
        points.append(EntryPoint(name, name, plugins.GROUP))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    plugins.sources.cache_clear()
    yield add
    plugins.sources.cache_clear()


def test_covers_every_file(install: Install) -> None:
    found = {(option.group, option.name) for option in options()}
    files = {tuple(file.relative_to(CONF).with_suffix("").as_posix().split("/", 1)) for file in CONF.glob("*/**/*.yaml")}
    assert found == files and ("experiment", "qi2024/table1_llama2") in found


def test_every_option_has_a_line_and_every_component_its_fields(install: Install) -> None:
    for option in options():
        assert option.line.endswith(".") or option.group == "experiment", option
        assert option.line and (option.cls is not None) is (option.group in COMPONENT_GROUPS), option
    lora = next(option for option in options() if option.name == "lora")
    assert lora.fields["lr"] == "a number" and lora.fields["target_modules"].startswith("a list")
    assert next(option for option in options() if option.name == "sft").fields["strategy"] == "strategy"


def test_a_plugin_s_options_carry_its_name(install: Install) -> None:
    install("ducks", "attack/ducklings.yaml", "experiment/pond.yaml")
    mine = {(option.group, option.name, option.line) for option in options() if option.owner == "ducks"}
    assert mine == {("attack", "ducklings", "Everyday instruction rows, with no intent against safety."), ("experiment", "pond", "A file of a plugin.")}


def test_a_clash_with_the_core_names_both(install: Install) -> None:
    install("ducks", "attack/benign.yaml")
    with pytest.raises(ConfigError, match=r"^attack=benign is an option of both ftsafety and ducks; uninstall one of them or rename its option\.$"):
        options()


def test_a_clash_between_plugins_names_both(install: Install) -> None:
    install("ducks", "judge/quack.yaml")
    install("geese", "judge/quack.yaml", "attack/benign_geese.yaml")
    with pytest.raises(ConfigError, match="judge=quack is an option of both ducks and geese"):
        options()


def test_the_same_name_in_two_groups_is_no_clash(install: Install) -> None:
    install("ducks", "judge/lora.yaml")
    assert [option.group for option in options() if option.name == "lora"] == ["strategy", "judge"]


def test_a_plugin_without_a_conf_folder_is_named_and_breaks_nothing_else(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("ducks")
    install("geese", "attack/geese.yaml")
    assert {option.owner for option in options()} == {"ftsafety", "geese"}
    assert main([]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.endswith("plugin ducks: the package ducks has no conf folder; mend or uninstall ducks.") and "plugin: geese" in text


def test_the_table(install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    install("ducks", "attack/ducklings.yaml")
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "identity_shift" in text and "Qi et al. 2024, section 4.3" in text and "plugin: ducks" in text
    titles = [line.strip() for line in text.splitlines() if line.strip() in COMPONENT_GROUPS]
    assert titles == list(COMPONENT_GROUPS)


def test_the_table_of_a_clash_is_one_sentence(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("ducks", "attack/benign.yaml")
    assert main([]) == 1
    out, err = capsys.readouterr()
    assert not out and "ftsafety and ducks" in " ".join(err.split())
