"""The stage that judges: each verdict is looked up before it is made, and kept before the next one is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from ftsafety.hashing import digest_of
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.progress import bar
from ftsafety.stages.house import House, waiting
from ftsafety.store.lease import lease
from ftsafety.store.verdicts import VerdictBook, book_of


def judged(house: House, judge: Judge, pairs: Sequence[Pair], label: str = "judge") -> list[Verdict]:
    """A judge's verdicts in the pairs' order, through the store: a changed answer must not pay for the others.

    A judge that costs money is asked by one process at a time, so that two runs don't pay for the same answer.

    Raises:
        FtsafetyError: the judge can't go on; what it has said is kept.
    """
    if members := judge.members():
        votes = {name: judged(house, member, pairs, f"{label} ({name})") for name, member in members.items()}
        return judge.combine([{name: said[at] for name, said in votes.items()} for at in range(len(pairs))])
    keys = [digest_of(vars(pair)) for pair in pairs]
    wanted = dict(zip(keys, pairs, strict=True))
    book = VerdictBook(house.store.folder, judge)
    if wanted.keys() - book.keys():
        with _alone(house, judge, label):
            if judge.costly:
                book = VerdictBook(house.store.folder, judge)
            _ask(judge, book, {key: pair for key, pair in wanted.items() if key not in book}, label)
    return [book[key] for key in keys]


def _ask(judge: Judge, book: VerdictBook, missing: dict[str, Pair], label: str) -> None:
    keys = list(missing)

    def stream() -> Iterator[tuple[str, Verdict]]:
        for at, verdict in judge.stream(list(missing.values()), book.usd):
            yield keys[at], verdict

    with bar(label, len(keys)) as advance:
        spent = book.usd
        for verdict in book.keep(stream(), len(keys)):
            spent += verdict.flags.get("usd", 0.0)
            advance(note=f"${spent:.2f}" if spent else "")


def _alone(house: House, judge: Judge, label: str) -> Any:
    return lease(house.store.folder / "leases" / f"verdicts-{book_of(judge)}", lambda: False, waiting(label)) if judge.costly else nullcontext()
