"""A policy from its YAML file or from an option's name, outside of a run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from ftsafety.build import build, did_you_mean
from ftsafety.errors import ConfigError
from ftsafety.plugins import sources
from ftsafety.policy.base import Category, Policy

TARGET = f"{Policy.__module__}.{Policy.__qualname__}"
TEXTS = tuple(field.name for field in fields(Category))
SUFFIXES = (".yaml", ".yml")
EMPTY = (None, "???")
"""What stands for a text that is still to be written."""


def load(policy: str) -> Policy:
    """The policy of a file, such as ``"mine.yaml"``, or of an option, such as ``"stand_in"``.

    A text that is not there yet is empty, so that ``Policy.check`` can name all of them at once.

    Raises:
        ConfigError: there is no such file or option, or it holds something that is not a policy's.
    """
    file = find(policy)
    data = _read(file)
    texts = {name: "" if data.get(name) in EMPTY else data[name] for name in ("name", "version", "origin")}
    whole = {"_target_": TARGET, **data, **texts, "categories": _categories(file, data.get("categories"))}
    try:
        return build(whole, Policy, "policy")
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def find(policy: str) -> Path:
    """The YAML file of a policy that is named by its path or, plugins included, by its option.

    Raises:
        ConfigError: neither exists.
    """
    path = Path(policy)
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return path
    files = {name: source.conf / "policy" / f"{name}.yaml" for source in sources() for name in source.options().get("policy", [])}
    if policy not in files:
        raise ConfigError(
            f"there is no policy {policy}; give one of {', '.join(files)}, or a file that exists and ends in {SUFFIXES[0]}.{did_you_mean(policy, list(files))}"
        )
    return files[policy]


def _read(file: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        data = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{file}{f':{mark.line + 1}' if mark else ''}: not YAML ({problem}); put a text that holds a colon or # in quotes.") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{file}: {str(error).splitlines()[0]}; write \\${{ where a text holds ${{.") from None
    except OSError as error:
        # OmegaConf says so of a file that is one bare number
        raise ConfigError(f"{file} can't be read as a policy ({str(error).splitlines()[0]}); write name, version, origin and categories in it.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{file} holds a list; a policy has name, version, origin and categories.")
    return {str(key): value for key, value in data.items()}


def _categories(file: Path, data: Any) -> dict[str, dict[str, str]]:
    """The categories with each of their texts, in words for somebody who edits the file."""
    takes = f"{', '.join(TEXTS[:-1])} and {TEXTS[-1]}"
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: categories is no mapping; write each category's id, a colon, and below it {takes}.")
    found = {}
    for id, texts in data.items():
        texts = {} if texts is None else texts
        if not isinstance(id, str):
            raise ConfigError(f"{file}: the category id {id} is no text; write it in quotes, or a word instead.")
        if not isinstance(texts, dict):
            raise ConfigError(f"{file}: categories.{id} is no mapping; write {takes} below it.")
        for key, value in texts.items():
            if key not in TEXTS:
                raise ConfigError(f"{file}: categories.{id}.{key} does not exist; a category takes {takes}.{did_you_mean(str(key), list(TEXTS))}")
            if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
                raise ConfigError(f"{file}: categories.{id}.{key} is no text; write one sentence or several behind {key} and a colon.")
        found[id] = {key: "" if texts.get(key) in EMPTY else str(texts[key]) for key in TEXTS}
    return found
