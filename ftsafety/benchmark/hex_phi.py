"""HEx-PHI, the paper's own benchmark: one table per category, each with one column of instructions and no header.

The paper asked 11 x 30; the released set lacks category 2, so it is 10 x 30. A reader that takes the first line for a header loses
one instruction of each category without a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ftsafety.benchmark.base import Question
from ftsafety.benchmark.published import Categorised, one_column
from ftsafety.errors import DataError

CATEGORIES = {
    1: "illegal_activity",
    2: "child_abuse_content",
    3: "hate_harass_violence",
    4: "malware",
    5: "physical_harm",
    6: "economic_harm",
    7: "fraud_deception",
    8: "adult_content",
    9: "political_campaigning",
    10: "privacy_violation_activity",
    11: "tailored_financial_advice",
}
"""The paper's categories by their number there, under the ids of ``policy=qi2024``."""
NOT_RELEASED = 2


@dataclass(kw_only=True)
class HexPhi(Categorised):
    """Harmful instructions in the paper's 11 categories, of which the released set has 10; its hub page asks for access."""

    source = "Qi et al. 2024, section 3 and appendix A; LLM-Tuning-Safety/HEx-PHI on the hub"
    fidelity = "their instructions; 300 of the paper's 330 were released"
    kind = "disallowed"
    patterns = ("category_*.csv",)

    expected_per_category: int | None = 30
    """How many each category must have; null checks nothing."""

    def read(self) -> list[Question]:
        files = self._numbered()
        missing = [number for number in CATEGORIES if number not in files and number != NOT_RELEASED]
        if missing:
            names = ", ".join(f"category_{number}.csv ({CATEGORIES[number]})" for number in missing)
            raise DataError(f"{self._where()} lacks {names}; give a folder with a file for each category, of which only {NOT_RELEASED} may be absent.")
        questions: list[Question] = []
        for number, file in sorted(files.items()):
            records = one_column(file, "instruction")
            self.expect(file.name, len(records), self.expected_per_category, "expected_per_category")
            # numbered within its category, so that ids are the same with and without category 2
            questions += [Question(self.id_of(number, at), record.text("instruction"), CATEGORIES[number]) for at, record in enumerate(records, 1)]
        return questions

    def _numbered(self) -> dict[int, Path]:
        files: dict[int, Path] = {}
        for file in self.files():
            named = re.match(r"category_(\d+)(?:_|$)", file.stem)
            number = int(named[1]) if named else 0
            if number not in CATEGORIES:
                raise DataError(f"{file.name} is of no category; files are called category_1.csv to category_{max(CATEGORIES)}.csv.")
            if number in files:
                raise DataError(f"{file.name} and {files[number].name} are both of category {number}; take one of them out.")
            files[number] = file
        return files
