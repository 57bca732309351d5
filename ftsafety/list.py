"""``python -m ftsafety.list``: every option of every group, plugins included, with its line, its source and its fidelity.

``--matrix`` shows which mitigation goes with which strategy, and what is missing where one does not. Every attack goes with all of them.
An option that can't be used is named with the reason, and the others are shown all the same.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yaml import YAMLError

from ftsafety.build import import_class, say_type, schema_of
from ftsafety.component import Component
from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.plugins import sources, without_options

COMPONENT_GROUPS = ("model", "attack", "align", "strategy", "trainer", "logger", "probe", "mitigation", "policy", "benchmark", "judge", "screen")


@dataclass(frozen=True)
class Option:
    """One option: where it is, what it builds and what its file says about itself."""

    group: str
    name: str
    owner: str
    file: Path
    cls: type[Component] | None
    """None for a group whose options are no components, and for an option that can't be used."""
    line: str
    """What it is, or why it can't be used."""

    @property
    def broken(self) -> bool:
        """Whether it can't be used: its file can't be read, or its class can't be imported."""
        return self.cls is None and self.group in COMPONENT_GROUPS

    @property
    def fields(self) -> dict[str, str]:
        """The option's fields and their types in words."""
        if self.cls is None:
            return {}
        schema = schema_of(self.cls)
        hints = typing.get_type_hints(schema.plain)
        return {name: say_type(hints[name]) if name in hints else schema.components[name][0].__name__.lower() for name in schema.names}


def options() -> list[Option]:
    """Every option that can be chosen, core first."""
    found = []
    for source in sources():
        for group, names in source.options().items():
            for name in names:
                file = source.conf / group / f"{name}.yaml"
                cls, line = None, _header(file)
                if group in COMPONENT_GROUPS:
                    try:
                        cls = class_in(file, f"{group}={name}")
                        line = (cls.__doc__ or "").strip().partition("\n")[0]
                    except ConfigError as error:
                        line = str(error)
                found.append(Option(group, name, source.name, file, cls, line))
    return found


def class_in(file: Path, where: str) -> type[Component]:
    """The class that a file's ``_target_`` names.

    Raises:
        ConfigError: the file or the class's fields can't be read, or the class can't be imported.
    """
    try:
        target = str(OmegaConf.select(OmegaConf.load(file), "_target_"))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(f"{where}: {file} can't be read as YAML ({' '.join(str(error).split())}); mend it.") from error
    cls = import_class(target, where)
    if not is_dataclass(cls):
        raise ConfigError(f"{where}: {target} is no dataclass, so it has no fields; put @dataclass(kw_only=True) above it.")
    try:
        schema_of(cls)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return cls


def _header(file: Path) -> str:
    """A YAML file's first comment, which is not Hydra's package line."""
    lines = [line[1:].strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.startswith("#")]
    return next((line for line in lines if not line.startswith("@package")), "")


def matrix(found: Sequence[Option]) -> Table:
    """Mitigations by strategies: a plus where they go together, otherwise what the mitigation needs and does not get."""
    from ftsafety.cell import lacking
    from ftsafety.mitigation import Mitigation
    from ftsafety.strategy import Strategy

    strategies = {option.name: option.cls for option in found if option.group == "strategy" and option.cls and issubclass(option.cls, Strategy)}
    mitigations = {option.name: option.cls for option in found if option.group == "mitigation" and option.cls and issubclass(option.cls, Mitigation)}
    table = Table("", *strategies, box=None, pad_edge=False, header_style="bold cyan", title="mitigation by strategy", title_justify="left", title_style="bold")
    for name, mitigation in mitigations.items():
        table.add_row(Text(name, style="bold cyan"), *[", ".join(lacking(mitigation, strategy)) or "+" for strategy in strategies.values()])
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if two options have one name or the words are off."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words not in ([], ["--matrix"]):
        Console(stderr=True).print(Text(f"python -m ftsafety.list takes nothing or --matrix, and not {' '.join(words)}."))
        return 1
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        found = options()
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error)))
        return 1
    if words:
        console.print(matrix(found))
        return 0
    order = {group: at for at, group in enumerate(COMPONENT_GROUPS)}
    for group in sorted({option.group for option in found}, key=lambda group: (order.get(group, len(order)), group)):
        table = Table(title=group, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="bold cyan")
        table.add_column(ratio=1)
        for option in [option for option in found if option.group == group]:
            text = Text(option.line, style="red" if option.broken else "")
            if option.cls is not None and option.cls.source:
                text.append(f"\n{option.cls.source}", style="dim")
            if option.cls is not None and option.cls.fidelity:
                text.append(f" ({option.cls.fidelity})", style="dim")
            if option.fields:
                text.append("\n" + ", ".join(option.fields), style="green")
            if option.owner != "ftsafety":
                text.append(f"\nplugin: {option.owner}", style="magenta")
            table.add_row(option.name, text)
        console.print(table)
        console.print()
    for said in without_options():
        console.print(Text(said, style="red"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
