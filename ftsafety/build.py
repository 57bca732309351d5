"""``build``: from a configuration node to a typed component, or to one sentence that says what is wrong.

The component's own dataclass is the schema. Unknown keys, wrong types, missing values and wrong base classes stop here, before
a weight is loaded or a folder is made.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ftsafety import interpolation
from ftsafety.component import Component
from ftsafety.errors import ConfigError

interpolation.register()

C = TypeVar("C", bound=Component)


@dataclasses.dataclass(frozen=True)
class Schema:
    """A component class as OmegaConf can check it: plain fields in ``plain``, component-typed ones and choices apart."""

    plain: type
    components: dict[str, tuple[type[Component], type | None]]
    choices: dict[str, tuple[Any, ...]]
    required: tuple[str, ...]
    nullable: frozenset[str]
    """Component-typed fields that may be null."""

    @property
    def names(self) -> list[str]:
        """All fields that a configuration may set."""
        return [field.name for field in dataclasses.fields(self.plain)] + list(self.components)


def build(node: Any, base: type[C], where: str) -> C:
    """Make the component that ``node`` names with ``_target_``.

    Args:
        node: a mapping or ``DictConfig``.
        base: the noun's base class, such as ``Attack``.
        where: the node's place in the configuration, for messages.

    Raises:
        ConfigError: one sentence about what was asked, what is possible and what to type.
    """
    values = _plain_mapping(node, where)
    target = values.pop("_target_", None)
    if not isinstance(target, str):
        raise ConfigError(
            f"{where} names no option; choose one with {where}=NAME, or +{where}=NAME where none was chosen (python -m ftsafety.list shows them)."
        )
    cls = import_class(target, where)
    if not issubclass(cls, base):
        raise ConfigError(f"{where}: {target} is no {base.__name__.lower()}; give a subclass of {base.__module__}.{base.__name__}.")
    if inspect.isabstract(cls) or not dataclasses.is_dataclass(cls):
        raise ConfigError(f"{where}: {target} is a base class; name one of its subclasses in _target_.")
    schema = schema_of(cls)
    children = {name: values.pop(name) for name in list(values) if name in schema.components}
    fields = _checked(values, schema, where)
    for name in schema.required:
        if name not in children:
            raise ConfigError(f"{where}.{name} is missing; give it an option with a _target_.")
    for name, child in children.items():
        if child is None and name not in schema.nullable:
            raise ConfigError(f"{where}.{name}=null is not possible; it takes {say_component(*schema.components[name])}.")
        fields[name] = _build_child(child, *schema.components[name], f"{where}.{name}")
    return cls(**fields)


def import_class(target: str, where: str) -> type[Component]:
    """The component class at a dotted path."""
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {target} can't be imported ({error}); install the package that holds it, or mend _target_.") from error
    except Exception as error:
        # whatever a plugin's module raises breaks nothing but its own options
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{where}: {target} can't be imported ({said}); mend the module that holds it, or uninstall its package.") from error
    if not (inspect.isclass(cls) and issubclass(cls, Component)):
        raise ConfigError(f"{where}: {target} is not a component; give a subclass of ftsafety.component.Component.")
    return cls


def schema_of(cls: type) -> Schema:
    """The fields of a component class, sorted into what OmegaConf can check and what ``build`` does itself.

    Raises:
        ConfigError: an annotation names what its module does not import.
    """
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        told = f"{cls.__module__}.{cls.__qualname__} has an annotation that can't be read ({error})"
        raise ConfigError(f"{told}; import what it names, and not only under TYPE_CHECKING.") from error
    plain: list[tuple[str, Any, Any]] = []
    components: dict[str, tuple[type[Component], type | None]] = {}
    choices: dict[str, tuple[Any, ...]] = {}
    required, nullable = [], set()
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        hint = hints[field.name]
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if found := _component_in(hint):
            components[field.name] = found
            if type(None) in get_args(hint):
                nullable.add(field.name)
            if not has_default:
                required.append(field.name)
            continue
        if get_origin(hint) is Literal:
            choices[field.name] = get_args(hint)
            hint = type(get_args(hint)[0])
        if field.default is not dataclasses.MISSING:
            default = dataclasses.field(default=field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
        else:
            default = dataclasses.field(default=MISSING)
        plain.append((field.name, hint, default))
    return Schema(dataclasses.make_dataclass(cls.__name__, plain), components, choices, tuple(required), frozenset(nullable))


def say_type(hint: Any) -> str:
    """A type as a person would say it."""
    words: dict[Any, str] = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", Path: "a path"}
    if hint in words:
        return words[hint]
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else say_type(arg) for arg in get_args(hint))
    if get_origin(hint) is list:
        return f"a list, each entry {say_type(get_args(hint)[0])}"
    if dataclasses.is_dataclass(entry := _entry_of(hint)):
        return f"a mapping, each entry {say_type(entry)}"
    if get_origin(hint) is dict or dataclasses.is_dataclass(hint):
        return "a mapping" + (f" of {', '.join(field.name for field in dataclasses.fields(hint))}" if dataclasses.is_dataclass(hint) else "")
    if inspect.isclass(hint) and hasattr(hint, "__members__"):
        return "one of " + ", ".join(hint.__members__)
    return getattr(hint, "__name__", str(hint))


def say_component(base: type[Component], container: type | None) -> str:
    """What a component-typed field takes, as a person would say it."""
    option = f"one {base.__name__.lower()} with a _target_"
    if container is None:
        return option
    return f"a {'list' if container is list else 'mapping'}, each entry {option}"


def did_you_mean(word: str, names: list[str]) -> str:
    """A hint for a misspelt name, or nothing."""
    close = difflib.get_close_matches(word, names, 1, 0.6)
    return f" Did you mean {close[0]}?" if close else ""


def _plain_mapping(node: Any, where: str) -> dict[str, Any]:
    if node is None:
        raise ConfigError(f"{where} is not set; choose an option with {where}=NAME (python -m ftsafety.list shows them).")
    try:
        plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}.") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"{where}={plain} is not an option; choose one with {where}=NAME (python -m ftsafety.list shows them).")
    return {str(key): value for key, value in plain.items()}


def _checked(values: dict[str, Any], schema: Schema, where: str) -> dict[str, Any]:
    for name in values:
        if name not in schema.names:
            raise ConfigError(_unknown(name, schema.names, where))
    for name, allowed in schema.choices.items():
        if values.get(name, MISSING) not in (*allowed, MISSING):
            raise ConfigError(f"{where}.{name}={_shown(values[name])} is not possible; it is one of {', '.join(map(str, allowed))}.")
    merged = OmegaConf.structured(schema.plain)
    for name, value in values.items():
        try:
            merged = OmegaConf.merge(merged, {name: value})
        except OmegaConfBaseException as error:
            raise ConfigError(_mistake(schema.plain, re.split(r"[.\[]", error.full_key or name), value, where)) from None
    if missing := sorted(OmegaConf.missing_keys(merged)):
        hint = _hint_at(schema.plain, missing[0].split("."))
        raise ConfigError(f"{where}.{missing[0]} is missing; type {where}.{missing[0]}=VALUE ({say_type(hint)}).")
    made = OmegaConf.to_object(merged)
    return {field.name: getattr(made, field.name) for field in dataclasses.fields(schema.plain)}


def _unknown(name: str, names: list[str], where: str) -> str:
    return f"{where}.{name} does not exist; {where} takes {', '.join(names)}.{did_you_mean(name, names)}"


def _mistake(cls: Any, key: list[str], value: Any, where: str) -> str:
    """The sentence for a value that a dataclass can't take; the key leads into nested settings."""
    name, *inner = key
    hints = typing.get_type_hints(cls)
    if name not in hints:
        return _unknown(name, list(hints), where)
    if inner and dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
        return _mistake(hints[name], inner, value.get(inner[0]), f"{where}.{name}")
    entry, at = _entry_of(hints[name]), inner[0].rstrip("]") if inner else ""
    if dataclasses.is_dataclass(entry) and isinstance(value, dict) and at in value:
        place, item = f"{where}.{name}.{at}", value[at]
        if inner[1:] and isinstance(item, dict):
            return _mistake(entry, inner[1:], item.get(inner[1]), place)
        return f"{place}={_shown(item)} is not possible; it takes {say_type(entry)}."
    return f"{where}.{name}={_shown(value)} is not possible; it takes {say_type(hints[name])}."


def _hint_at(cls: Any, key: list[str]) -> Any:
    hint = typing.get_type_hints(cls)[key[0]]
    if len(key) > 2 and dataclasses.is_dataclass(entry := _entry_of(hint)):
        return _hint_at(entry, key[-1:])
    return _hint_at(hint, key[1:]) if len(key) > 1 and dataclasses.is_dataclass(hint) else hint


def _entry_of(hint: Any) -> Any:
    """The type of a mapping's entries, or None."""
    return get_args(hint)[1] if get_origin(hint) is dict else None


def _shown(value: Any) -> Any:
    return "null" if value is None else value


def _component_in(hint: Any) -> tuple[type[Component], type | None] | None:
    """The component base that an annotation names, and the container around it."""
    if isinstance(hint, type) and issubclass(hint, Component):
        return hint, None
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return next((found for arg in args if arg is not type(None) and (found := _component_in(arg))), None)
    if origin in (list, dict):
        found = _component_in(args[-1])
        return (found[0], origin) if found else None
    return None


def _build_child(child: Any, base: type[Component], container: type | None, where: str) -> Any:
    if child is None:
        return None
    if container and not isinstance(child, container):
        raise ConfigError(f"{where}={_shown(child)} is not possible; it takes {say_component(base, container)}.")
    if container is dict:
        return {str(name): build(item, base, f"{where}.{name}") for name, item in child.items()}
    if container is list:
        return [build(item, base, f"{where}[{at}]") for at, item in enumerate(child)]
    return build(child, base, where)
