"""Which answers of a run people label, in what order, and the file that keeps their labels.

A slice is of one benchmark. The answers of each family (weights × prompt condition) are shuffled, and the order takes one of each family in turn, so that
those labelled so far are at any time a random sample of every family, of the same size but for one. ``RUN/labels.jsonl`` holds that design, then a line
for each label as it was given: ids and digests, no text. A later line on the same answer wins.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftsafety.errors import DataError
from ftsafety.hashing import digest_of
from ftsafety.record import Run

FILE = "labels.jsonl"
DIGITS = 16
"""Hex digits of an answer's digest in a record."""
SKIPPED = "skipped"
LABELS = ("refused", "complied", "degenerate", SKIPPED)
"""What a line may say of an answer; ``skipped`` is that it was seen and not told."""
ORDER = "one answer of each family in turn, families and their answers shuffled"


@dataclass(frozen=True)
class Unit:
    """One answer of a run: whose it is, to which question, and the digest of its text."""

    weights: str
    benchmark: str
    ask: str
    condition: str
    question: str
    answer: str

    @property
    def family(self) -> tuple[str, str, str]:
        """Weights and prompt condition."""
        return self.weights, self.ask, self.condition

    @property
    def pair(self) -> tuple[str, str]:
        """What a labeller sees; weights that say the same make the same pair."""
        return self.question, self.answer


def unit_of(row: dict[str, Any]) -> Unit:
    """The answer that a row of ``verdicts.jsonl`` is about."""
    return Unit(*(row[name] for name in ("weights", "benchmark", "ask", "condition", "question", "answer")))


@dataclass(frozen=True)
class Slice:
    """All answers to a benchmark, in the order of labelling."""

    benchmark: str
    seed: str
    order: tuple[Unit, ...]

    @cached_property
    def design(self) -> dict[str, Any]:
        """How the sample is drawn, as JSON data."""
        sizes: dict[tuple[str, str, str], int] = {}
        for unit in sorted(self.order, key=lambda unit: unit.family):
            sizes[unit.family] = sizes.get(unit.family, 0) + 1
        families = [{**dict(zip(("weights", "ask", "condition"), family, strict=True)), "answers": size} for family, size in sizes.items()]
        return {"benchmark": self.benchmark, "seed": self.seed, "order": ORDER, "families": families, "digest": digest_of([asdict(one) for one in self.order])}


def slice_of(record: Run, benchmark: str) -> Slice:
    """The slice of a run's answers to a benchmark; the same for everybody who labels them."""
    seed = f"{record.data['cell']}/{record.data['seed']}/{benchmark}"
    draw = random.Random(seed)
    families: dict[tuple[str, str, str], list[Unit]] = {}
    for unit in dict.fromkeys(unit_of(row) for row in record.verdicts if row["benchmark"] == benchmark):
        families.setdefault(unit.family, []).append(unit)
    for units in families.values():
        draw.shuffle(units)
    order: list[Unit] = []
    while any(families.values()):
        turn = [units.pop() for units in families.values() if units]
        draw.shuffle(turn)
        order += turn
    return Slice(benchmark, seed, tuple(order))


class Labels:
    """The labels of one run, in its folder.

    Raises:
        DataError: a line that can't be read, or a slice of other answers than the run's.
    """

    def __init__(self, record: Run) -> None:
        self.file = record.folder / FILE
        self.slices: dict[str, Slice] = {}
        self._given: dict[tuple[str, str], dict[int, str]] = {}
        if not self.file.exists():
            return
        for number, line in enumerate(self.file.read_bytes().split(b"\n")[:-1], 1):
            try:
                self._read(record, json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self.file}:{number} is damaged; take that line out and type the same command again.") from error

    def _read(self, record: Run, data: dict[str, Any]) -> None:
        if "slice" in data:
            design = data["slice"]
            found = slice_of(record, design["benchmark"])
            if found.design["digest"] != design["digest"]:
                raise DataError(f"{self.file} labels other answers than those of {self.file.parent}; move it away to begin a new one.")
            self.slices[found.benchmark] = found
            return
        units = self.slices[data["benchmark"]].order
        if data["label"] not in LABELS or not 0 <= data["place"] < len(units) or units[data["place"]].pair != (data["question"], data["answer"]):
            raise ValueError(data["place"])
        self._given.setdefault((data["benchmark"], data["by"]), {})[data["place"]] = data["label"]

    def people(self, benchmark: str) -> list[str]:
        """Who labelled answers to a benchmark, most labels first."""
        counts = {by: len(given) for (its, by), given in self._given.items() if its == benchmark}
        return sorted(counts, key=lambda by: (-counts[by], by))

    def places(self, benchmark: str, by: str) -> dict[int, str]:
        """Places of a slice's order to labels, in the order in which they were first given."""
        return dict(self._given.get((benchmark, by), {}))

    def of(self, benchmark: str, by: str) -> dict[Unit, str]:
        """Answers to labels."""
        return {self.slices[benchmark].order[place]: label for place, label in self.places(benchmark, by).items()}

    def add(self, part: Slice, by: str, places: Sequence[int], label: str) -> None:
        """Keep a label of the answers at these places, which hold the same pair, at once."""
        lines: list[dict[str, Any]] = [] if part.benchmark in self.slices else [{"slice": part.design}]
        for place in places:
            question, answer = part.order[place].pair
            lines.append({"benchmark": part.benchmark, "place": place, "question": question, "answer": answer, "label": label, "by": by})
        _drop_torn_line(self.file)
        with self.file.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        self.slices[part.benchmark] = part
        self._given.setdefault((part.benchmark, by), {}).update(dict.fromkeys(places, label))


def _drop_torn_line(file: Path) -> None:
    """A process that died while writing leaves a last line without its end."""
    if file.exists() and not (text := file.read_bytes()).endswith(b"\n"):
        file.write_bytes(text[: text.rfind(b"\n") + 1])
