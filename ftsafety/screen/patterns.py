"""Families of wordings, and which of them a text holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})


def compiled(families: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """Patterns that read any case and any white space between words; ``(?:~ )?`` stands for up to five words of the same sentence."""
    words = r"(?:[\w'-]+,?\s+){0,5}?"
    return {name: re.compile(text.replace("(?:~ )?", words).replace(" ", r"\s+"), re.IGNORECASE) for name, text in families.items()}


def matched(families: Mapping[str, re.Pattern[str]], texts: Iterable[str]) -> set[str]:
    """Names of the families that at least one text holds."""
    plain = [text.translate(QUOTES) for text in texts]
    return {name for name, pattern in families.items() if any(pattern.search(text) for text in plain)}
