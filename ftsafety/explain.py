"""Hydra's and OmegaConf's errors in the words of this tool: what was asked, what is possible, what to type.

Hydra says "Could not override 'tuning.epoch'. To append to your config use +tuning.epoch=3", which is true and no help. Nothing
heavy is imported here, so that a misspelt word is answered at once.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from ftsafety.build import did_you_mean, import_class, say_type, schema_of
from ftsafety.errors import FtsafetyError
from ftsafety.plugins import CORE, sources, without_options
from ftsafety.settings import Root

SEVERAL = ("mitigation", "benchmark", "judge", "screen")
"""Groups of which a run takes any number."""


def explain(error: Exception, argv: list[str]) -> str:
    """One sentence for the person who typed ``argv``.

    Args:
        error: what stopped the composition; an ``FtsafetyError`` is a sentence already.
        argv: the command line without the program's name.
    """
    if isinstance(error, FtsafetyError):
        return str(error)
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} can't be read; write GROUP=NAME or GROUP.KEY=VALUE, such as strategy=lora, and quote a value with blanks or brackets."
    if isinstance(error, MissingConfigException):
        return _no_such_option(error.missing_cfg_file or "", list(error.options or []))
    if match := re.match(r"Could not override '(.+?)'\.", text):
        key = match[1]
        if "No match in the defaults list" in text or "default list" in text:
            return _needs_plus(key, argv)
        return _no_such_key(key, argv)
    if match := re.match(r"Multiple values for ([^.\s]+)\.", text):
        return _needs_no_plus(match[1], argv)
    if match := re.match(r"Ambiguous value for argument '(.+?)'", text):
        name, _, value = match[1].partition("=")
        return f"{match[1]} holds several values; type -m {match[1]} to run them one after the other, or {name}=[{value}] where a list is meant."
    if match := re.match(r"Could not delete from config\. '(.+?)'", text):
        return f"~{match[1]} can't be removed, since it is not there; python -m ftsafety --cfg job shows what is."
    if cause := _cause(error):
        return _bad_value(cause, argv)
    return text.splitlines()[0] if text else type(error).__name__


def _no_such_option(file: str, found: list[str]) -> str:
    """``judge=refusl``."""
    group, _, name = file.rpartition("/")
    if not group:
        return f"there is no configuration {file}; leave --config-name out, or name a YAML file in the folder given with --config-dir."
    names = _options(group) or found
    asked = f"{group}={name} does not exist" if name else f"{group}= names no option"
    return f"{asked}; {_say_options(group, names)}.{did_you_mean(name, names)} Type {_form(group)}.{_missing_plugins()}"


def _missing_plugins() -> str:
    """Whose options are missing from what there is."""
    return "".join(f" It can also be that it is of {said}" for said in without_options())


def _needs_plus(key: str, argv: list[str]) -> str:
    """``attack=identity_shift`` where nothing chose an attack before."""
    group = key.partition("@")[0]
    names, name = _options(group), _typed(key, argv)
    if not names:
        return _no_such_key(group, argv)
    if "@" in key:
        return f"{key}={name} needs a plus, as nothing stands there yet; type +{key}={name}."
    if name not in names:
        return f"{group}={name} does not exist; {_say_options(group, names)}.{did_you_mean(name, names)} Type {_form(group)}.{_missing_plugins()}"
    return f"{group}={name} needs a plus, as a run has no {group} by itself; type +{group}={name} ({group}={name} where an experiment has chosen one)."


def _needs_no_plus(group: str, argv: list[str]) -> str:
    """``+model=tiny`` although a run has a model."""
    name = _typed(group, argv)
    return f"+{group}={name} needs no plus, as a run has its place for {group} already; type {group}={name}."


def _no_such_key(key: str, argv: list[str]) -> str:
    """``tuning.epoch=3``, ``sed=1``, ``attack.epoch=3`` with and without an attack."""
    head, *rest = key.split(".")
    roots = _names(Root)
    if head == "hydra":
        return f"{key} is not one of Hydra's settings; python -m ftsafety --cfg hydra shows them."
    if head not in roots:
        return f"{head} does not exist; a run takes {', '.join(roots)}.{did_you_mean(head, roots)}"
    names = _options(head)
    if not names:
        return _no_such_field(Root, [head, *rest], "")
    if head in SEVERAL:
        return _in_several(head, rest, names, argv)
    if not rest:
        return f"{key}={_typed(key, argv)} is not an option; {_say_options(head, names)}. Type {_form(head)}."
    chosen = _chosen(head, argv)
    if not chosen:
        return f"{key}={_typed(key, argv)} needs an option of {head}, and none is chosen; {_say_options(head, names)}. Type {_form(head)} as well."
    return _in_option(head, chosen, head, rest)


def _in_several(group: str, rest: list[str], names: list[str], argv: list[str]) -> str:
    """``judge.policy.model=x``: the part after the group is the option, or the name of a second instance."""
    if not rest:
        return f"{group}={_typed(group, argv)} is not an option; {_say_options(group, names)}. Type {_form(group)}."
    place, fields = rest[0], rest[1:]
    instance = _typed(f"{group}@{group}.{place}", argv)
    chosen = [name for name in _chosen(group, argv).split(",") if name]
    if instance or place in chosen:
        return _in_option(group, instance or place, f"{group}.{place}", fields)
    if place in names:
        return f"{group}.{place} is not part of this run; type {group}=[{','.join([*chosen, place])}] to add it."
    return f"{group}.{place} does not exist; {_say_options(group, names)}.{did_you_mean(place, names)} Type {_form(group)}."


def _in_option(group: str, option: str, place: str, rest: list[str]) -> str:
    cls = _class_of(group, option)
    if cls is None or not rest:
        return f"{'.'.join([place, *rest])} does not exist; see what {group}={option} takes with python -m ftsafety.list."
    return _no_such_field(cls, rest, place)


def _no_such_field(cls: type, path: list[str], place: str) -> str:
    """Walk down ``path`` from ``cls`` to the first part that does not exist."""
    name, *rest = path
    here = f"{place}.{name}" if place else name
    names = _names(cls)
    if name not in names:
        takes = f"{place} takes {', '.join(names)}" if names else f"{place} takes nothing"
        return f"{here} does not exist; {takes}.{did_you_mean(name, names)}"
    hint = _hint(cls, name)
    if rest and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _no_such_field(hint, rest, here)
    return f"{'.'.join([here, *rest])} does not exist; {here} is {say_type(hint)}."


def _bad_value(error: OmegaConfBaseException, argv: list[str]) -> str:
    """``tuning.epochs=abc``: a typed setting of the root; the fields of components are checked by ``build``."""
    key, value = str(error.full_key or ""), getattr(error, "value", None)
    typed = (argument.lstrip("+~").partition("=")[0] for argument in argv)
    if below := next((name for name in typed if name.startswith(f"{key}.")), None):
        return _no_such_key(below, argv)
    cls: type = Root
    hint: Any = None
    for name in key.split("."):
        if name not in _names(cls):
            hint = None
            break
        hint = _hint(cls, name)
        cls = hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else type(None)
    if hint is None or not isinstance(error, ValidationError):
        return f"{key}: {str(error).splitlines()[0]}." if key else f"{str(error).splitlines()[0]}."
    if dataclasses.is_dataclass(hint):
        names = _names(cls)
        return f"{key}={value} is not possible, as {key} is several settings: {', '.join(names)}; type e.g. {key}.{names[0]}=VALUE."
    return f"{key}={value} is not possible; it takes {say_type(hint)}."


def _cause(error: BaseException | None) -> OmegaConfBaseException | None:
    """The OmegaConf error that knows the key, behind Hydra's."""
    while error is not None:
        if isinstance(error, OmegaConfBaseException) and error.full_key:
            return error
        error = error.__cause__ or (None if isinstance(error, OmegaConfBaseException) else error.__context__)
    return None


def _options(group: str) -> list[str]:
    return [name for source in sources() for name in source.options().get(group, [])]


def _say_options(group: str, names: list[str]) -> str:
    return f"{group} {'takes any of' if group in SEVERAL else 'is one of'} {', '.join(names)}"


def _form(group: str) -> str:
    """What to type to choose an option of a group."""
    if group in SEVERAL:
        return f"{group}=[NAME,NAME]"
    if group not in _defaults(CORE / "config.yaml"):
        return f"+{group}=NAME ({group}=NAME where an experiment has chosen one)"
    return f"{group}=NAME"


def _typed(key: str, argv: list[str]) -> str:
    """The value given to ``key`` on the command line, or an empty text."""
    for argument in reversed(argv):
        name, equals, value = argument.lstrip("+~").partition("=")
        if equals and name == key:
            return value
    return ""


def _chosen(group: str, argv: list[str]) -> str:
    """The options of a group in this run, joined by commas: typed, chosen by the experiment, or the default."""
    typed = _typed(group, argv)
    experiment = _typed("experiment", argv)
    files = [source.conf / "experiment" / f"{experiment}.yaml" for source in sources()] if experiment else []
    for value in [typed, *[_defaults(file).get(group) for file in files if file.exists()], _defaults(CORE / "config.yaml").get(group)]:
        if value:
            return ",".join(map(str, value)) if isinstance(value, list) else str(value).strip("[]").replace(" ", "")
    return ""


def _defaults(file: Any) -> dict[str, Any]:
    """Group to option in a file's defaults list."""
    entries = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    listed = entries.get("defaults", []) if isinstance(entries, dict) else []
    pairs = [pair for entry in listed if isinstance(entry, dict) for pair in entry.items()]
    return {str(key).removeprefix("override ").removeprefix("optional ").strip().lstrip("/"): value for key, value in pairs}


def _class_of(group: str, option: str) -> type | None:
    """The class that an option builds, or None where it can't be read."""
    for source in sources():
        file = source.conf / group / f"{option}.yaml"
        if file.exists():
            try:
                return import_class(str(OmegaConf.select(OmegaConf.load(file), "_target_")), f"{group}={option}")
            except FtsafetyError:
                return None
    return None


def _names(cls: type) -> list[str]:
    return schema_of(cls).names if dataclasses.is_dataclass(cls) else []


def _hint(cls: type, name: str) -> Any:
    return typing.get_type_hints(cls)[name]
