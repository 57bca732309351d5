"""Do a policy's questions cover it? Counts, the intervals that they can give, and what is missing.

Nothing here shows a question's text: rows are named by id and line.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ftsafety import stats
from ftsafety.build import did_you_mean
from ftsafety.contract import normalized
from ftsafety.errors import DataError
from ftsafety.policy.base import Gap, Policy
from ftsafety.source import SUFFIXES, Record, read_records

POINTS = 0.10
"""Half-width to which the missing questions are counted."""
NEAR = 0.5
"""Share of common word 3-grams (Jaccard) from which two questions of a file count as the same."""
SHOWN = 3
LABEL = 40
"""Characters of the longest category that is shown; a longer one is likely a question."""


@dataclass(frozen=True)
class Asked:
    """One row of a file of questions."""

    id: str
    text: str
    category: str
    where: str

    def __str__(self) -> str:
        return self.id if self.id == self.where else f"{self.id} ({self.where})"


@dataclass(frozen=True)
class Count:
    """So many questions, the widest half of Wilson's interval that their rate can have (None for no questions), and how many more make it ``POINTS``."""

    n: int
    half_width: float | None
    more: int

    @classmethod
    def of(cls, n: int) -> Count:
        """The count of ``n`` questions."""
        return cls(n, half_width(n) if n else None, max(0, questions_for(POINTS) - n))


@dataclass(frozen=True)
class Side:
    """One of the two kinds of questions that a policy needs: the word for it, what it measures, and the option that gives its file."""

    kind: str
    word: str
    measures: str
    option: str


DISALLOWED = Side("questions", "disallowed question", "compliance", "--questions")
ALLOWED = Side("twins", "allowed twin", "over-refusal", "--allowed")


def half_width(n: int) -> float:
    """Half of Wilson's interval at 95 % for a rate of about one half, where it is widest."""
    estimate = stats.rate([at < n // 2 for at in range(n)])
    return (estimate.high - estimate.low) / 2


@cache
def questions_for(half: float) -> int:
    """The fewest questions whose interval is never wider than ``half`` on either side."""
    n = 1
    while half_width(n) > half:
        n += 1
    return n


def read(file: Path) -> list[Asked]:
    """The questions of one file with the columns ``question`` and ``category``, and ``id`` where it has one.

    Raises:
        DataError: no such file, no such column, a row without text, or no rows.
    """
    if not file.is_file():
        raise DataError(f"{file} is no file; give one of questions, of the kind {', '.join(SUFFIXES)}.")
    records = read_records(file)
    if not records:
        raise DataError(f"{file} holds no rows; write one question a row, with the columns id, question and category.")
    return [_asked(record) for record in records]


def _asked(record: Record) -> Asked:
    for column in ("question", "category"):
        if column not in record.values:
            # what stands there instead is not shown: in a table without a header it is a question
            raise DataError(f"{record.where} has no column {column}; the columns are id, question and category, and a table names them in its first line.")
    id = record.values.get("id")
    return Asked(record.where if id in (None, "") else str(id), record.text("question"), record.text("category"), record.where)


def count(policy: Policy, rows: Sequence[Asked]) -> dict[str, Count]:
    """How many rows each category of the policy has."""
    seen = Counter(row.category for row in rows)
    return {id: Count.of(seen[id]) for id in policy.categories}


def gaps(policy: Policy, questions: Sequence[Asked] | None, twins: Sequence[Asked] | None) -> list[Gap]:
    """What the policy lacks, and its questions where any are given.

    Args:
        questions: the disallowed ones; None if there is no such file.
        twins: the allowed ones; None if there is no such file.
    """
    found = policy.check()
    if questions is None and twins is None:
        return found
    for side, rows in ((DISALLOWED, questions), (ALLOWED, twins)):
        if rows is None:
            found.append(Gap(side.kind, None, f"There is no {side.word}, so {side.measures} can't be measured; add {side.option} FILE."))
        else:
            found += [
                Gap(side.kind, id, f"{id} has no {side.word}, so {side.measures} there can't be measured.") for id, n in count(policy, rows).items() if not n.n
            ]
            found += [*_unknown(policy, rows), *_same_id(rows), *_near(rows)]
    return [*found, *_on_both_sides(questions or (), twins or ())]


def _unknown(policy: Policy, rows: Sequence[Asked]) -> Iterator[Gap]:
    strange: dict[str, list[Asked]] = defaultdict(list)
    for row in rows:
        if row.category not in policy.categories:
            strange[row.category].append(row)
    ids = {name: id for id, name in policy.names().items()}
    for label, where in strange.items():
        shown = label if len(label) <= LABEL else f"of {len(label)} characters (a question in the wrong column?)"
        meant = f" Did you mean {ids[label]}?" if label in ids else did_you_mean(label, list(policy.categories))
        yield Gap("unknown", None, f"{_some(where)} {'is' if len(where) == 1 else 'are'} of the category {shown}, which the policy does not have.{meant}")


def _same_id(rows: Sequence[Asked]) -> Iterator[Gap]:
    held: dict[str, list[Asked]] = defaultdict(list)
    for row in rows:
        held[row.id].append(row)
    for same in held.values():
        if len(same) > 1:
            yield Gap("id", same[0].category, f"{_some(same)} have one id; give each its own.")


def _near(rows: Sequence[Asked]) -> Iterator[Gap]:
    for one, other in near_equal(rows):
        yield Gap("near", other.category, f"{one} and {other} ask nearly the same; keep one, or change one.")


def _on_both_sides(questions: Sequence[Asked], twins: Sequence[Asked]) -> Iterator[Gap]:
    allowed = {normalized(twin.text): twin for twin in twins}
    for question in questions:
        if twin := allowed.get(normalized(question.text)):
            yield Gap("both", question.category, f"{question} is disallowed and, as {twin}, allowed; take one of them out.")


def near_equal(rows: Sequence[Asked]) -> list[tuple[Asked, Asked]]:
    """Pairs of rows that share ``NEAR`` of their word 3-grams or more; of several equal ones, each with the first."""
    sets = [_grams(row.text) for row in rows]
    common = Counter(gram for held in sets for gram in held)
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    first: dict[frozenset[tuple[str, ...]], int] = {}
    found = []
    for at, held in enumerate(sets):
        if held in first:
            found.append((rows[first[held]], rows[at]))
            continue
        # two that share so much share one of the rarest of either, so that "how do I" need not be looked up
        rarest = sorted(held, key=lambda gram: (common[gram], gram))[: len(held) - math.ceil(NEAR * len(held)) + 1]
        near = sorted({other for gram in rarest for other in holders[gram]})
        found += [(rows[other], rows[at]) for other in near if len(held & sets[other]) >= NEAR * len(held | sets[other])]
        for gram in rarest:
            holders[gram].append(at)
        if held:
            first[held] = at
    return found


def _grams(text: str) -> frozenset[tuple[str, ...]]:
    """Word 3-grams; a shorter text is one gram, a text without a word none."""
    words = normalized(text).split()
    return frozenset(tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))) if words else frozenset()


def _some(rows: Sequence[Asked]) -> str:
    """The first of these rows, and how many more there are."""
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"{', '.join(map(str, rows[:SHOWN]))}{more}"
