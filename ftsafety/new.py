"""``python -m ftsafety.new mitigation my_idea``: a plugin that works, to put an idea of your own into (docs/plugins.md).

It writes a distribution: a package with a class, its option as YAML, tests that hold it to what it promises, a README. The templates are
the files under ``assets/new``, laid out as they are written.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from ftsafety.build import did_you_mean
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.plugins import sources

FOLDER = Path(__file__).parent / "assets" / "new"
NOUNS = {
    "attack": ("+attack={name}", "attack.count=3,6,12 tuning.batch_size=3"),
    "strategy": ("+attack=identity_shift strategy={name}", "strategy.lr=1e-4,1e-3,1e-2"),
    "mitigation": ("+attack=identity_shift mitigation=[{name}]", "mitigation.{name}.weight=0,0.1,1"),
    "policy": ("policy={name}", ""),
    "benchmark": ("+attack=identity_shift benchmark=[{name}]", "benchmark.{name}.per_category=1,2,4"),
    "judge": ("+attack=identity_shift judge=[outcome,{name}]", "judge.{name}.phrases=[Sorry],[Alas]"),
}
"""What can be written, and what is typed to choose it and to sweep over a field of it."""
QUICK = "model=tiny max_unscored=1 tuning.epochs=2 decoding.max_new_tokens=8"
"""What makes any run one of seconds; the tiny model is random, so that no number of it means anything."""
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 40
"""Characters of a name: it is part of the names of folders and modules, and of lines of code."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are sentences."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; type e.g. {self.prog} mitigation my_idea.")


def write(noun: str, name: str, folder: Path | None = None) -> Path:
    """Write a plugin that adds the option ``name`` to the group ``noun``; returns its folder.

    Args:
        folder: where; None is ``ftsafety-plugin-<name>`` in the working directory.

    Raises:
        ConfigError: there is no such noun, the name can't be used or is taken, or the folder exists or can't be made.
    """
    if noun not in NOUNS:
        raise ConfigError(f"no plugin can be written for {noun}; it is one of {', '.join(NOUNS)}.{did_you_mean(noun, list(NOUNS))}")
    _refuse_bad(name)
    _refuse_taken(name)
    files = _rendered(noun, name)
    folder = folder or Path(_distribution(name))
    try:
        folder.mkdir(parents=True)
        for place, text in files.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise ConfigError(f"{folder} exists already, and nothing is written over; give another folder with --folder.") from None
    except OSError as error:
        raise ConfigError(f"{folder} can't be written ({error.strerror or error}); give another folder with --folder.") from error
    return folder


def _refuse_bad(name: str) -> None:
    wanted = "a name is lower_snake: letters, digits and single underscores, with a letter first, such as my_idea"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} can't be a name; {wanted}.")
    if len(name) > LONGEST:
        raise ConfigError(f"{name} has {len(name)} characters, and a name has at most {LONGEST}; give a shorter one.")
    if keyword.iskeyword(name) or keyword.iskeyword(_class(name)):
        raise ConfigError(f"{name} is a word of Python's and can't be a name; give another, such as my_{name}.")
    if OmegaConf.create(f"- {name}")[0] != name or name in ("nan", "inf"):
        raise ConfigError(f"{name} is a value in YAML or on the command line and can't be a name; give another, such as my_{name}.")


def _refuse_taken(name: str) -> None:
    found = [(source.name, group) for source in sources() for group, options in source.options().items() if name in options]
    if found:
        owner, group = found[0]
        raise ConfigError(f"{name} is taken: {group}={name} is an option of {owner} (python -m ftsafety.list shows all); give another name.")
    if importlib.util.find_spec(_package(name)) or name in [source.name for source in sources()]:
        raise ConfigError(f"{name} is taken: a plugin of that name is installed ({_package(name)}); give another name, or uninstall it.")


def _rendered(noun: str, name: str) -> dict[str, str]:
    """Place in the new folder to text."""
    choice, sweep = (typed.format(name=name) for typed in NOUNS[noun])
    words = {
        "noun": noun, "name": name, "cls": _class(name), "package": _package(name), "distribution": _distribution(name), "choice": choice, "sweep": sweep,
        "quick": QUICK,
    }  # fmt: skip
    loader = Environment(loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, keep_trailing_newline=True)
    files = {}
    for part in ("common", noun):
        for template in sorted((FOLDER / part).rglob("*.jinja")):
            place = template.relative_to(FOLDER / part).as_posix().removesuffix(".jinja").replace("PACKAGE", _package(name)).replace("NAME", name)
            files[place] = loader.get_template(template.relative_to(FOLDER).as_posix()).render(words)
    _refuse_shadowed(name, files.get(f"{_package(name)}/{name}.py", ""))
    return files


def _refuse_shadowed(name: str, code: str) -> None:
    """Refuse a class of the name of something that its own module imports, such as ``Row``."""
    imported = {alias.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) for alias in node.names}
    if _class(name) in imported:
        raise ConfigError(f"{name} would be a class {_class(name)}, and its module needs another of that name; give another, such as my_{name}.")


def _class(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _package(name: str) -> str:
    return f"ftsafety_plugin_{name}"


def _distribution(name: str) -> str:
    return f"ftsafety-plugin-{name.replace('_', '-')}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(prog="python -m ftsafety.new", description="Write a plugin that works, to put an idea of your own into.")
    top.add_argument("noun", metavar="NOUN", help=f"what it adds: {', '.join(NOUNS)}")
    top.add_argument("name", metavar="NAME", help="what it is called, such as my_idea")
    top.add_argument("--folder", type=Path, metavar="DIR", help="where it is written; by default ftsafety-plugin-NAME, here")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        chosen = parser().parse_args(arguments)
        folder = write(chosen.noun, chosen.name, chosen.folder)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    code = folder / _package(chosen.name)
    own = f"{chosen.name}.py" if chosen.noun != "policy" else f"conf/policy/{chosen.name}.yaml"
    lines = [
        f"{folder} is a plugin that works. Put your idea into {code / own}; then:",
        f"  python -m pip install -e '{folder}[test]'",
        "  python -m ftsafety.list",
        f"  python -m ftsafety {NOUNS[chosen.noun][0].format(name=chosen.name)} {QUICK}",
        f"  python -m pytest {folder / 'tests'}",
    ]
    for line in lines:
        Console().print(Text(line), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
