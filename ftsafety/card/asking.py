"""The command that computes a cell that is missing: a finished run's own recipe, said in overrides, with something changed."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ftsafety.build import import_class
from ftsafety.card.cells import Record
from ftsafety.component import Component
from ftsafety.errors import ConfigError
from ftsafety.plugins import CORE, sources
from ftsafety.settings import Decoding, Tuning

PLAIN = re.compile(r"[\w.+/\-]+")
NOT_FIELDS = ("class", "code", "data")
"""What a component's recipe says besides its fields."""
UNKNOWN = "FILE"
"""Stands for a path: a record keeps a file's content and not its place."""
Changes = Mapping[str, str | None]
"""Key to an override in its place, or to None to leave out what stands there and below."""


def command(record: Record, folders: Sequence[Path], changes: Changes, several: bool = False) -> str:
    """What to type for a run like ``record``, but for ``changes``; ``several`` makes it a multirun."""
    said = overrides(record)
    for key in changes:
        said = {name: text for name, text in said.items() if name != key and not name.startswith(f"{key}.")}
    said |= {key: text for key, text in changes.items() if text is not None}
    first = next(iter(folders), Path("runs"))
    where = [] if str(first) == "runs" or "paths.runs" in changes else [f"paths.runs={first}"]
    return shlex.join(["python", "-m", "ftsafety", *(["-m"] if several else []), *sorted(said.values(), key=_place), *where])


def overrides(record: Record) -> dict[str, str]:
    """A recipe as overrides, by key; what the options' own files say already is left out."""
    recipe, names = record.recipe, record.data["names"]
    said: dict[str, str] = {}
    for group in ("model", "align", "attack", "strategy"):
        if recipe.get(group) and group in names:
            said[group] = f"{'+' if group == 'attack' else ''}{group}={names[group]}"
            said |= fields(group, names[group], recipe[group])
    chosen = {"mitigation": record.mitigations, "benchmark": recipe["benchmark"], "judge": recipe["judge"]}
    for group, options in chosen.items():
        said[group] = f"{group}=[{','.join(options)}]"
        for name, its in options.items():
            said |= fields(f"{group}.{name}", name, its)
    root: Any = OmegaConf.load(CORE / "config.yaml")
    for key, usual in (("tuning", Tuning()), ("decoding", Decoding())):
        for name, value in (recipe.get(key) or {}).items():
            if hasattr(usual, name) and _plain(getattr(usual, name)) != value:
                said[f"{key}.{name}"] = f"{key}.{name}={_text(value)}"
    if recipe["max_unscored"] != root.max_unscored:
        said["max_unscored"] = f"max_unscored={recipe['max_unscored']}"
    return {**said, "seed": f"seed={recipe['seed']}"}


def fields(key: str, name: str, recipe: Mapping[str, Any]) -> dict[str, str]:
    """The fields of one component that its option's file does not say already."""
    group = key.partition(".")[0]
    file = next((source.conf / group / f"{name}.yaml" for source in sources() if name in source.options().get(group, ())), None)
    usual: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False) if file else {}
    return dict(_differing(key, recipe, usual))


def _differing(key: str, recipe: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if usual.get("_target_") != recipe.get("class"):
        yield f"{key}._target_", f"{key}._target_={recipe.get('class')}"
        usual = {}
    known = _fields_of(str(recipe.get("class")), key)
    for name, value in recipe.items():
        there = f"{key}.{name}"
        if (name in NOT_FIELDS and name not in known) or (known and name not in known):
            continue
        said = usual[name] if name in usual else known.get(name)
        if isinstance(value, dict) and set(value) == {"content"}:
            yield there, f"{there}={UNKNOWN}"
        elif isinstance(value, dict) and "class" in value:
            yield from _differing(there, value, said if isinstance(said, dict) else {})
        elif isinstance(value, dict) and isinstance(said, dict):
            for inner, its in value.items():
                if _plain(said.get(inner)) != its and inner in said:
                    yield f"{there}.{inner}", f"{there}.{inner}={_text(its)}"
        elif _plain(said) != value:
            yield there, f"{'' if name in usual else '++'}{there}={_text(value)}"


def _fields_of(target: str, where: str) -> dict[str, Any]:
    """Default of each field of a component class; none where the class is not here."""
    try:
        cls: type[Component] = import_class(target, where)
    except ConfigError:
        return {}
    found: Any = {field.name: None if field.default is dataclasses.MISSING else field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return dict(found)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _text(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    text = str(value)
    if isinstance(value, (int, float)) or PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def setting(key: str, value: Any) -> str:
    """One override."""
    return f"{key}={_text(value)}"


def _place(text: str) -> tuple[int, str]:
    order = ("model", "align", "attack", "strategy", "mitigation", "benchmark", "judge", "tuning", "decoding", "max_unscored", "seed")
    group = re.split(r"[.=]", text.lstrip("+"))[0]
    # a group comes before what is changed below it
    return order.index(group) if group in order else len(order), "" if text.lstrip("+").startswith(f"{group}=") else text.lstrip("+")
