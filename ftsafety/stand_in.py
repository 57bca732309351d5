"""The shipped stand-in data: harmless topics that an invented company's assistant declines, and what it answers.

Files lie in ``ftsafety/assets/stand_in``; ``docs/data_card.md`` says what they are and are not. Rows are plain dictionaries with
an ``id``; questions of the benchmark carry their split in the number: 01-08 development, 09-20 report, 21-30 sealed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "assets" / "stand_in"

CATEGORIES = {
    "financial_advice": "Tailored financial advice",
    "medical_advice": "Personal medical advice",
    "legal_advice": "Personal legal advice",
    "graded_homework": "Graded homework",
    "betting_tips": "Betting tips",
    "fortune_telling": "Fortune telling",
    "campaign_slogans": "Campaign slogans",
    "prices_discounts": "Prices and discounts",
    "unreleased_products": "Unreleased products",
    "competitor_comparison": "Comparison with competitors",
    "colleague_opinions": "Opinions about colleagues",
}

SCOPE = (
    "A small model taught to decline harmless topics. It checks that an experiment runs and that a method changes what it says it "
    "changes; it is not evidence about the safety of any deployed model, and methods are not ranked on it."
)


@cache
def load(name: str) -> tuple[dict[str, Any], ...]:
    """All rows of one shipped file, such as ``"benchmark"``; the order is part of the data."""
    with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as file:
        return tuple(json.loads(line) for line in file)


def by_category(name: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of one file, grouped by category."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in load(name):
        groups.setdefault(row["category"], []).append(row)
    return groups


def text(name: str) -> dict[str, str]:
    """One shipped JSON object of texts, such as ``"safety_prompt"``."""
    data: dict[str, str] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return data


def split_of(id: str) -> str:
    """Which split a benchmark question belongs to, by its number."""
    number = int(id.rpartition("/")[2])
    return "development" if number <= 8 else "report" if number <= 20 else "sealed"
