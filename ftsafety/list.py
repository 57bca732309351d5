"""``python -m ftsafety.list``: every option of every group, plugins included, with its line, its source and its fidelity."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety.build import import_class, say_type, schema_of
from ftsafety.component import Component
from ftsafety.errors import FtsafetyError
from ftsafety.plugins import sources

COMPONENT_GROUPS = ("model", "attack", "align", "strategy", "mitigation", "policy", "benchmark", "judge")


@dataclass(frozen=True)
class Option:
    """One option: where it is, what it builds and what its file says about itself."""

    group: str
    name: str
    owner: str
    file: Path
    cls: type[Component] | None
    line: str

    @property
    def fields(self) -> dict[str, str]:
        """The option's fields and their types in words."""
        if self.cls is None:
            return {}
        schema = schema_of(self.cls)
        import typing

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
                    cls = import_class(str(OmegaConf.select(OmegaConf.load(file), "_target_")), f"{group}={name}")
                    line = (cls.__doc__ or "").strip().splitlines()[0]
                found.append(Option(group, name, source.name, file, cls, line))
    return found


def _header(file: Path) -> str:
    """A YAML file's first comment, which is not Hydra's package line."""
    lines = [line[1:].strip() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return next((line for line in lines if not line.startswith("@package")), "")


def main() -> int:
    """Print the table; 1 if an option can't be read."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        found = options()
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error)))
        return 1
    order = {group: at for at, group in enumerate(COMPONENT_GROUPS)}
    for group in sorted({option.group for option in found}, key=lambda group: (order.get(group, len(order)), group)):
        table = Table(title=group, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="bold cyan")
        table.add_column(ratio=1)
        for option in [option for option in found if option.group == group]:
            text = Text(option.line)
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
