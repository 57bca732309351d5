"""What a configuration is made of: a component is a dataclass whose fields are its options.

A component's *recipe* is plain data that says all that determines what it does: class, field values, the content of files
that it names, and a digest of its code. Recipes are what keys and cell ids are made from; see ``ftsafety.store``.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import sys
from abc import ABC
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from ftsafety.errors import ConfigError
from ftsafety.hashing import digest_of, digest_of_path


class Component(ABC):
    """Base of everything that ``build`` can make from a YAML node.

    Subclasses are dataclasses; constructors touch no file, network or GPU.
    """

    source: ClassVar[str] = ""
    """Where the method comes from: paper and section, or a repository."""

    fidelity: ClassVar[str] = ""
    """How near it is to the source, in a few words; empty for our own parts."""

    not_in_recipe: ClassVar[frozenset[str]] = frozenset()
    """Fields that never change a result (paths of a machine, speed)."""

    def recipe(self) -> dict[str, Any]:
        """All that determines what this component does, as JSON data."""
        fields = {
            field.name: describe(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if field.init and field.name not in self.not_in_recipe
        }
        return {"class": f"{type(self).__module__}.{type(self).__qualname__}", "code": code_digest(type(self)), **fields}


def describe(value: Any) -> Any:
    """Turn a field's value into JSON data: components by recipe, paths by their content.

    Raises:
        ConfigError: a path that does not exist.
    """
    if isinstance(value, Component):
        return value.recipe()
    if isinstance(value, Path):
        if not value.exists():
            raise ConfigError(f"{value} does not exist; give a file or folder that does.")
        return {"content": digest_of_path(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return value


@cache
def code_digest(cls: type) -> str:
    """Digest of the syntax trees of the modules that define a component, docstrings left out.

    The modules are those of the class and of its bases up to the noun's own base class, so that reformatting, comments
    and documentation change nothing and an edited plugin is another component.
    """
    modules = {base.__module__ for base in cls.__mro__ if issubclass(base, Component) and base is not Component}
    trees = {name: _bare_tree(inspect.getsource(sys.modules[name])) for name in sorted(modules)}
    return digest_of(trees)


def _bare_tree(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _is_docstring(item)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
