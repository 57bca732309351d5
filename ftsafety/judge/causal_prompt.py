"""A prompt that others wrote: not shipped, read from their model's card or from a file, and verified by its digest."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ftsafety.errors import ConfigError, DataError
from ftsafety.judge.causal import CausalJudge
from ftsafety.source import fetch

CARD = "README.md"
QUOTED = re.compile(r"(\"\"\"|''')(.*?)\1", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")


@dataclass(kw_only=True)
class PromptedJudge(CausalJudge):
    """A causal judge with prompts that others wrote, each known by the SHA-256 of its text."""

    path: Path | None = None
    """A file that holds the prompts: the card or the code that they were published in, or the bare text; null takes the card from the hub."""
    hub: str | None = None
    """The model on the Hugging Face hub whose card holds the prompts."""
    revision: str | None = None
    """Branch, tag or commit of that card; the digests decide what is taken."""
    digests: dict[str, str] = field(default_factory=dict)
    """Prompt name to the SHA-256 of its text in UTF-8; give other digests to use other prompts on purpose."""

    not_in_recipe: ClassVar[frozenset[str]] = CausalJudge.not_in_recipe | {"path", "hub", "revision"}
    slots: ClassVar[Mapping[str, str]] = {}
    """What the prompts call the places of ``question`` and ``answer``."""
    published: ClassVar[str] = ""
    """Where the prompts are published, for messages."""

    def ready(self, where: str) -> None:
        for name in self.digests:
            self._checked(name, where)
        super().ready(where)

    def template(self, tokenizer: Any, name: str) -> str:
        return self._checked(name, self.where())

    def _checked(self, name: str, where: str) -> str:
        if name not in self.digests:
            raise ConfigError(f"{where}.digests has no prompt {name}; it has {', '.join(self.digests) or 'none'}.")
        text = self._texts.get(self.digests[name])
        if text is None:
            raise DataError(
                f"{self._file} holds no text with the digest {self.digests[name][:12]}... of {where}'s prompt {name}; give the file as it is published "
                f"({self.published}) with {where}.path=FILE, or another prompt's digest with {where}.digests.{name}=SHA256."
            )
        if missing := [slot for slot in self.slots.values() if f"{{{slot}}}" not in text]:
            raise DataError(f"{self._file}: the prompt {name} has no place for {', '.join(missing)}; write {{{missing[0]}}} where it belongs.")
        for ours, theirs in self.slots.items():
            text = text.replace(f"{{{theirs}}}", f"{{{ours}}}")
        return text

    @cached_property
    def _file(self) -> Path:
        where = self.where()
        if self.path is not None:
            if not self.path.is_file():
                raise DataError(f"{where}.path={self.path} is not a file; give one that holds the prompt ({self.published}).")
            return self.path
        if self.hub is None:
            raise ConfigError(f"{where} needs its prompt, which its authors publish in {self.published}; get that file and type {where}.path=FILE.")
        return fetch(self.hub, self.revision, [CARD], where, kind="model") / CARD

    @cached_property
    def _texts(self) -> dict[str, str]:
        try:
            content = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self._file} can't be read ({error}); give a text file in UTF-8.") from error
        return {hashlib.sha256(text.encode()).hexdigest(): text for text in texts_in(content)}


def texts_in(content: str) -> Iterator[str]:
    """Every text that a published file may mean as a prompt: the whole, with and without its last line end; what stands between triple quotation
    marks or single backticks; and each string of a JSON or Python file."""
    yield content
    yield content.removesuffix("\n")
    yield from (text for _, text in QUOTED.findall(content))
    yield from CODE.findall(content)
    try:
        yield from _strings(json.loads(content))
        return
    except ValueError:
        pass
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    yield from (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for item in data.values():
            yield from _strings(item)
    elif isinstance(data, list):
        for item in data:
            yield from _strings(item)
