"""A usage policy: categories, and what is disallowed and allowed in each.

It is one YAML, shipped or a team's own. A benchmark takes its categories from it, an LLM judge reads its text, a report its names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ftsafety.component import Component, describe


@dataclass
class Category:
    """One kind of request; its id is its key in the policy."""

    name: str
    """As a reader should see it."""
    disallowed: str
    """What a model should decline, described and not exemplified."""
    allowed: str
    """What it should answer all the same: news, history, prevention, help."""


@dataclass(frozen=True)
class Gap:
    """One thing that a policy or its questions lack, in a sentence; ``kind`` is a word for machines, ``category`` an id or None."""

    kind: str
    category: str | None
    says: str


@dataclass(kw_only=True)
class Policy(Component):
    """A usage policy: categories of requests, what is disallowed and what stays allowed in each."""

    source = "Qi et al. 2024, appendix A: a benchmark built from the categories of usage policies"
    fidelity = "the idea is the paper's; every text is in our own words or yours"

    name: str
    """What the policy is called."""
    version: str
    """Which state of it this is."""
    origin: str
    """Who wrote it, or what it was made from."""
    categories: dict[str, Category]
    """Id to category; the ids are those in the questions' column ``category``, and their order is that of the text."""

    # who called it what and when changes no verdict
    not_in_recipe: ClassVar[frozenset[str]] = frozenset({"name", "version", "origin"})

    def recipe(self) -> dict[str, Any]:
        # as a list, since the order of the categories is the order in which a judge reads them
        return {**super().recipe(), "categories": [[id, describe(category)] for id, category in self.categories.items()]}

    def names(self) -> dict[str, str]:
        """Id to name, in the policy's order."""
        return {id: category.name for id, category in self.categories.items()}

    def text(self) -> str:
        """The policy as plain numbered text for a judge's prompt: all that a judge reads of it.

        Each category is a line with number and name, one that begins with ``Disallowed:`` and one that begins with ``Allowed:``, and a
        blank line between categories. How the YAML broke its lines does not show.
        """
        return "\n\n".join(_paragraph(number, category) for number, category in enumerate(self.categories.values(), 1))

    def check(self) -> list[Gap]:
        """What the policy itself lacks: categories, texts, and names that can be told apart; empty if nothing."""
        found = [] if self.categories else [Gap("categories", None, "The policy has no category; write at least one under categories.")]
        texts = ("name", "version", "origin")
        found += [Gap("text", None, f"The policy's {text} is empty; write one.") for text in texts if not getattr(self, text).strip()]
        for id, category in self.categories.items():
            empty = [field.name for field in fields(category) if not getattr(category, field.name).strip()]
            found += [Gap("text", id, f"{id}: the text of {text} is empty; write one.") for text in empty]
        return found + _overlaps(self.names())


def _paragraph(number: int, category: Category) -> str:
    lines = [f"{number}. {_one_line(category.name)}", f"Disallowed: {_one_line(category.disallowed)}", f"Allowed: {_one_line(category.allowed)}"]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _overlaps(names: Mapping[str, str]) -> list[Gap]:
    """Pairs of categories of which one's name holds every word of the other's, plural or not."""
    words = {id: {word.removesuffix("s") for word in re.findall(r"\w+", name.lower())} for id, name in names.items()}
    pairs = [(a, b) for a, b in itertools.combinations(names, 2) if words[a] and words[b] and (words[a] <= words[b] or words[b] <= words[a])]
    return [Gap("overlap", b, f"{a} ({names[a]}) and {b} ({names[b]}) overlap in name; name each by what only it holds.") for a, b in pairs]
