"""Plugins that are broken or have each other's names: what is wrong is named, and nothing else is touched."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ftsafety import cli, plugins
from ftsafety.errors import ConfigError
from ftsafety.list import main, options
from ftsafety.plugins import sources, without_options
from ftsafety.testing import cell_of

JUDGE = """
from dataclasses import dataclass
from ftsafety.judge import Judge, Verdict

@dataclass
class Quack(Judge):
    '''Says nothing.'''
    source = "ours"

    def score(self, pairs):
        return [Verdict(None) for _ in pairs]
"""
LATE = "from __future__ import annotations\n" + JUDGE.replace("    source", "    pond: Pond = 1\n    source")
BROKEN = {
    "raises": ("raise RuntimeError('the pond is dry')", "can't be imported (RuntimeError: the pond is dry); mend the module that holds it"),
    "no_python": ("this is no Python", "can't be imported (SyntaxError: invalid syntax"),
    "lacks_a_package": ("import no_such_pond", "can't be imported (No module named 'no_such_pond'); install the package that holds it"),
    "lacks_the_class": ("Quack = None", "is not a component; give a subclass of ftsafety.component.Component."),
    "no_dataclass": (JUDGE.replace("@dataclass\n", ""), "is no dataclass, so it has no fields; put @dataclass(kw_only=True) above it."),
    "unknown_annotation": (JUDGE.replace("    source", "    pond: Pond\n    source"), "can't be imported (NameError: name 'Pond' is not defined)"),
    "late_annotation": (LATE, "import what it names, and not only under TYPE_CHECKING"),
}
"""What a module holds, and what is said of it."""


class Installed(Distribution):
    """A distribution of a name."""

    def __init__(self, name: str) -> None:
        self.called = name

    @property
    def metadata(self) -> Any:
        message = Message()
        message["Name"] = self.called
        return message

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


class Installer:
    """``install(package, option, module)``: a plugin with a judge, or with an option file of its own; ``entry`` is what its entry point says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.points = folder, list[EntryPoint]()

    def __call__(self, package: str, option: str, module: str = JUDGE, *, name: str = "", entry: str = "", option_file: bytes = b"") -> None:
        conf = self.folder / package / "conf" / "judge"
        conf.mkdir(parents=True)
        (conf.parents[1] / "__init__.py").write_text(module)
        (conf.parents[1] / "quack.py").write_text(module)
        (conf / f"{option}.yaml").write_bytes(option_file or f"# @package judge.{option}\n_target_: {package}.quack.Quack\n".encode())
        point = EntryPoint(name or package, entry or package, plugins.GROUP)
        vars(point)["dist"] = Installed(f"{package}-distribution")
        self.points.append(point)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    installer = Installer(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "entry_points", lambda group: installer.points)
    plugins.sources.cache_clear()
    before = set(sys.modules)
    yield installer
    plugins.sources.cache_clear()
    for module in set(sys.modules) - before:
        if module.startswith("pond_"):
            del sys.modules[module]


def judges() -> dict[str, Any]:
    return {option.name: option for option in options() if option.group == "judge"}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_named_with_the_reason_and_breaks_nothing_else(install: Installer, capsys: pytest.CaptureFixture[str], broken: str) -> None:
    module, reason = BROKEN[broken]
    install("pond_broken", "broken", module)
    install("pond_whole", "whole")
    found = judges()
    assert [name for name, option in found.items() if option.broken] == ["broken"]
    assert {"outcome", "refusal", "whole"} <= found.keys() and found["whole"].line == "Says nothing."
    assert reason in found["broken"].line and found["broken"].line.startswith("judge=broken: ")
    assert main([]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "judge=broken: " in text and "plugin: pond_broken" in text and "plugin: pond_whole" in text
    assert "outcome" in cell_of().judges and "whole" in cell_of("judge=[whole]").judges
    with pytest.raises(ConfigError, match=r"pond_broken\.quack\.Quack"):
        cell_of("judge=[broken]")


@pytest.mark.parametrize("content", [b"_target_: [", b"_target_: ${", b"\xff\xfe", b"just words", b"- a\n- b", b"# nothing\n"], ids=repr)
def test_a_file_that_is_no_option_is_named(install: Installer, content: bytes) -> None:
    install("pond_broken", "broken", option_file=content)
    found = judges()
    assert [name for name, option in found.items() if option.broken] == ["broken"] and found["broken"].line.startswith("judge=broken: ")
    assert "\n" not in found["broken"].line
    assert "outcome" in cell_of().judges


def test_a_run_that_chooses_a_file_that_is_not_yaml_says_where_it_is(
    install: Installer, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("pond_broken", "broken", option_file=b"phrases: [")
    monkeypatch.setattr(sys, "argv", ["ftsafety", "judge=[broken]"])
    assert cli.main() == 1
    err = capsys.readouterr().err
    assert "as a file of it is not YAML: " in err and f'"{install.folder}/pond_broken/conf/judge/broken.yaml"' in err
    assert list(work.iterdir()) == []


def test_two_plugins_of_one_name_are_refused_and_both_distributions_named(install: Installer) -> None:
    install("pond_a", "quack", name="pond")
    install("pond_b", "honk", name="pond")
    sentence = r"^pond_a-distribution and pond_b-distribution both hold a plugin called pond; uninstall one of them or rename its entry point\.$"
    with pytest.raises(ConfigError, match=sentence):
        sources()


def test_two_options_of_one_name_are_refused_and_both_plugins_named(install: Installer, capsys: pytest.CaptureFixture[str]) -> None:
    install("pond_a", "quack")
    install("pond_b", "quack")
    with pytest.raises(ConfigError, match=r"^judge=quack is an option of both pond_a and pond_b; uninstall one of them or rename its option\.$"):
        cell_of()
    assert main([]) == 1
    assert "judge=quack is an option of both pond_a and pond_b" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("entry", ["pond_a.inner", "pond_a:Quack"])
def test_an_entry_point_that_python_would_have_to_import_is_left_out(install: Installer, entry: str) -> None:
    install("pond_a", "quack", "raise RuntimeError('a plugin is found, not imported')", entry=entry)
    assert [source.name for source in sources()] == ["ftsafety"]
    assert without_options() == [f"plugin pond_a: its entry point is {entry} and has to be a top-level package; mend or uninstall pond_a-distribution."]


def test_a_plugin_without_options_breaks_no_command_and_is_named_where_an_option_is_missed(
    install: Installer, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("pond_a", "quack")
    install("pond_b", "honk")
    shutil.rmtree(install.folder / "pond_a" / "conf")
    assert "outcome" in cell_of().judges and "honk" in cell_of("judge=[honk]").judges
    said = "plugin pond_a: the package pond_a has no conf folder; mend or uninstall pond_a-distribution."
    assert without_options() == [said]
    monkeypatch.setattr(sys, "argv", ["ftsafety", "judge=[quack]"])
    assert cli.main() == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "judge=quack does not exist; " in err and f"It can also be that it is of {said}" in err
