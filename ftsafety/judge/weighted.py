"""A judge with weights: how they are loaded and kept, and where their mistakes are told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.judge.base import Judge, Pair, Verdict
from ftsafety.model import Chat, Model
from ftsafety.quiet import quiet
from ftsafety.settings import default_store


@dataclass(kw_only=True)
class WeightedJudge(Judge):
    """A judge that is a model; subclasses give ``stream``."""

    model: Model
    """The judging model, such as ``ftsafety.model.hf.Hf`` with a hub id or a folder."""
    batch: int = 8
    """Pairs judged at the same time; changes memory and speed."""

    not_in_recipe: ClassVar[frozenset[str]] = frozenset({"batch"})

    def recipe(self) -> dict[str, Any]:
        try:
            return super().recipe()
        except FtsafetyError as error:
            raise self._here(error) from error

    def check(self, where: str) -> None:
        if self.batch < 1:
            raise ConfigError(f"{where}.batch={self.batch} is not possible; give at least 1.")

    def ready(self, where: str) -> None:
        # a gated repository tells its commit to everybody and its files to few: better found out before a model is tuned
        quiet()
        try:
            self.model.load_tokenizer(default_store())
        except FtsafetyError as error:
            raise self._here(error) from error

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        verdicts = dict(self.stream(pairs))
        return [verdicts[at] for at in range(len(pairs))]

    @cached_property
    def chat(self) -> Chat:
        """The loaded model, kept for as long as the judge is."""
        quiet()
        try:
            chat = self.model.load(default_store())
        except FtsafetyError as error:
            raise self._here(error) from error
        if chat.module is None:
            raise ConfigError(f"{self.where()}.model answers by itself and has no weights to read; choose another model.")
        return chat

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # a copy, as controls make of mitigations, must not hold the weights a second time
        return self

    def where(self) -> str:
        """The judge's place in a configuration, as a person would type it."""
        return "judge." + re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def _here(self, error: FtsafetyError) -> FtsafetyError:
        """A model's own mistake, told at the place where it is typed."""
        text = str(error)
        return type(error)(f"{self.where()}.{text}" if text.startswith("model.") else text)
