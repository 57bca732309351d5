"""``python -m ftsafety.label RUN``: label a slice of a finished run's answers by hand, so that its judges can be held to people's reading.

You see a question and an answer and say what became of the question: refused, complied or degenerate (docs/labelling.md says what they mean). You
do not see whose answer it is, under which prompt it was given, or what any judge says. Each label is kept in RUN/labels.jsonl as you give it, without a
text; the same command goes on where you stopped. ``python -m ftsafety.agreement RUN`` tells what comes of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from ftsafety import stand_in
from ftsafety.benchmark import Benchmark
from ftsafety.benchmark.stand_in import StandIn
from ftsafety.errors import ConfigError, FtsafetyError, StoreError
from ftsafety.finished import load, rebuilt
from ftsafety.hashing import digest_of, digest_of_path
from ftsafety.report.reading import Reading
from ftsafety.sample import DIGITS, SKIPPED, Labels, Slice, slice_of
from ftsafety.settings import default_store

if TYPE_CHECKING:
    from ftsafety.record import Run

COUNT = 60
"""Labels asked for unless another number is given: ten of each family in a run with one attack and no controls."""
KEYS = {"r": "refused", "c": "complied", "d": "degenerate", "s": SKIPPED}
BACK, QUIT = "b", "q"
HELP = "r refused   c complied   d degenerate   s skip   b back   q quit"
CUT = "\n[cut at the token limit]"
Texts = Mapping[tuple[str, str], tuple[str, str]]
"""A pair to its question and answer, as a person may see them."""


def chosen(record: Run, name: str | None) -> str:
    """The benchmark to label: the named one, or the first whose questions should be declined.

    Raises:
        ConfigError: the run has no such benchmark.
    """
    possible = Reading(record.data).benchmarks("disallowed")
    if not possible:
        raise ConfigError(f"{record.folder} asked no questions that should be declined, so there is no compliance to label.")
    if name is not None and name not in possible:
        raise ConfigError(f"--benchmark {name} is not possible; of this run's benchmarks {', '.join(possible)} can be labelled.")
    return name or possible[0]


def asked_again(record: Run, name: str, typed: Mapping[str, Any]) -> Benchmark:
    """A run's benchmark, with the questions that the run asked.

    Args:
        typed: fields that the record leaves out, such as ``path``.

    Raises:
        FtsafetyError: it can't be built, or has other questions now.
    """
    recipe = record.data["recipe"]["benchmark"][name]
    benchmark = rebuilt(recipe, Benchmark, f"benchmark.{name}", instead=typed)
    there = benchmark.recipe()
    # code may have moved on; fields and the rows' content decide
    other = sorted(key for key in {*recipe, *there} - {"code"} if recipe.get(key) != there.get(key))
    if isinstance(benchmark, StandIn) and record.data["recipe"]["data"] != digest_of_path(stand_in.FOLDER):
        other.append("the shipped data")
    if other:
        raise ConfigError(
            f"these are not the questions that {record.folder} was asked: {', '.join(other)} differ from its record; "
            f"give what it had with benchmark.{name}.KEY=VALUE, or type the run's command again."
        )
    return benchmark


def texts(record: Run, part: Slice, benchmark: Benchmark, store: Path) -> Texts:
    """Question and answer of every pair of a slice; answers are found in the store by their digests.

    Raises:
        StoreError: the store does not hold all of them.
    """
    asked, said = {question.id: question.text for question in benchmark.questions()}, _answers(record, store)
    if missing := sorted({" ".join(unit.family) for unit in part.order if unit.answer not in said}):
        raise StoreError(
            f"{store} does not hold all answers of {', '.join(missing)}; give the run's store with --store DIR, or type the run's command again. "
            "Answers that a mitigation rewrote after decoding are not kept and can't be labelled."
        )
    return {unit.pair: (printable(asked[unit.question]), printable(said[unit.answer])) for unit in part.order}


def _answers(record: Run, store: Path) -> dict[str, str]:
    """Digests, as in ``verdicts.jsonl``, to the texts of all answers that the run took from the store."""
    found: dict[str, str] = {}
    for stage in record.data["stages"]:
        file = store / "answer" / stage["key"] / "answers.jsonl"
        if stage["stage"] == "answer" and file.is_file():
            with file.open(encoding="utf-8") as lines:
                given = [json.loads(line) for line in lines]
            found |= {digest_of(row["text"])[:DIGITS]: row["text"] + (CUT if row["truncated"] else "") for row in given}
    return found


def printable(text: str) -> str:
    """A text without the control characters by which it could write over the screen."""
    return "".join(sign if sign in "\n\t" or unicodedata.category(sign) != "Cc" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def sit(labels: Labels, part: Slice, shown: Texts, by: str, count: int, keys: Iterator[str], console: Console) -> None:
    """Show what has no label yet until ``count`` answers have one, the keys end or say so; each label is kept before the next answer is shown."""
    count = min(count, len(part.order))
    history = _seen(labels, part, by)
    place = _next(labels, part, by, count)
    while place is not None:
        _show(*shown[part.order[place].pair], f"{place + 1} of {count}", console)
        key = next(keys, QUIT)
        if key == QUIT:
            return
        if key == BACK:
            place = history.pop() if history else place
        elif label := KEYS.get(key):
            alike = [other for other in labels.places(part.benchmark, by) if other != place and part.order[other].pair == part.order[place].pair]
            labels.add(part, by, [place, *alike], label)
            history.append(place)
            place = _next(labels, part, by, count)


def _seen(labels: Labels, part: Slice, by: str) -> list[int]:
    """Places that were shown, in that order: the first of each pair."""
    first: dict[tuple[str, str], int] = {}
    for place in labels.places(part.benchmark, by):
        first.setdefault(part.order[place].pair, place)
    return list(first.values())


def _next(labels: Labels, part: Slice, by: str, count: int) -> int | None:
    """The first place without a label; those before it that hold a pair which has one get the same."""
    given = labels.places(part.benchmark, by)
    known = {part.order[place].pair: label for place, label in given.items()}
    for place in range(count):
        if place in given:
            continue
        if (label := known.get(part.order[place].pair)) is None:
            return place
        labels.add(part, by, [place], label)
    return None


def _show(question: str, answer: str, where: str, console: Console) -> None:
    console.print()
    console.print(Panel(Text(question), title="question", title_align="left", subtitle=where, subtitle_align="right"))
    console.print(Panel(Text(answer) if answer.strip() else Text("(nothing)", style="dim"), title="answer", title_align="left"))
    console.print(Text(f"{HELP}: "), end="", soft_wrap=True)


def _told(labels: Labels, part: Slice, by: str, folder: Path, console: Console) -> None:
    given = list(labels.places(part.benchmark, by).values())
    skipped = given.count(SKIPPED)
    console.print()
    console.print(
        Text(
            f"{len(given) - skipped} of {len(part.order)} answers to {part.benchmark} have a label by {by}"
            f"{f', {skipped} skipped' if skipped else ''}; kept in {labels.file}. "
            f"Go on with a higher --count, or type python -m ftsafety.agreement {folder}"
        ),
        soft_wrap=True,
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m ftsafety.label", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("run", type=Path, metavar="RUN", help="a finished run's folder")
    made.add_argument("fields", nargs="*", metavar="benchmark.NAME.KEY=VALUE", help="what the record leaves out of the benchmark, such as its path")
    made.add_argument("--benchmark", metavar="NAME", help="whose answers; the first whose questions should be declined otherwise")
    made.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"how many answers in all, those of earlier sittings included; {COUNT}")
    made.add_argument("--by", default="anonymous", metavar="NAME", help="who labels; everybody labels the same answers, in the same order")
    made.add_argument("--store", type=Path, metavar="DIR", help="the store that the run stands on; FTSAFETY_STORE or the user's cache folder otherwise")
    made.add_argument("--reveal", action="store_true", help="show texts of benchmarks other than the stand-in, which may be harmful")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 for a mistake."""
    typed = parser().parse_intermixed_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 100)
    try:
        _label(typed, console)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    return 0


def _label(words: argparse.Namespace, console: Console) -> None:
    if words.count < 1:
        raise ConfigError(f"--count {words.count} is not possible; give at least 1.")
    record = load(words.run)
    name = chosen(record, words.benchmark)
    benchmark = asked_again(record, name, _fields(words.fields, name))
    if not (words.reveal or isinstance(benchmark, StandIn)):
        raise ConfigError(f"questions and answers of {name} may be harmful and are shown only with --reveal.")
    part, labels = slice_of(record, name), Labels(record)
    shown = texts(record, part, benchmark, words.store or default_store())
    with suppress(KeyboardInterrupt):
        sit(labels, part, shown, words.by, words.count, (line.strip().lower() for line in sys.stdin), console)
    _told(labels, part, words.by, words.run, console)


def _fields(words: Sequence[str], name: str) -> dict[str, Any]:
    try:
        typed = OmegaConf.select(OmegaConf.from_dotlist(list(words)), f"benchmark.{name}")
    except OmegaConfBaseException as error:
        raise ConfigError(f"{' '.join(words)} can't be read ({str(error).splitlines()[0]}); type benchmark.{name}.KEY=VALUE.") from error
    if other := [word for word in words if not word.startswith(f"benchmark.{name}.") or "=" not in word]:
        raise ConfigError(f"{other[0]} is not possible; type benchmark.{name}.KEY=VALUE.")
    return {str(key): value for key, value in typed.items()} if typed is not None else {}


if __name__ == "__main__":
    sys.exit(main())
