"""How far defended and undefended tunings lie apart on the same questions, over questions, runs and aligned models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ftsafety import stats
from ftsafety.card.cells import Kind, Pair, Split, Tuned, Values
from ftsafety.errors import DataError
from ftsafety.report import words
from ftsafety.stats import Crossed


def distinct(pairs: Iterable[Pair]) -> dict[str, Pair]:
    """Pairs by their weights: seeds that change neither tuning are one pair."""
    found: dict[str, Pair] = {}
    for one, other in pairs:
        found.setdefault(f"{one.digest} {other.digest}", (one, other))
    return found


def runs_of(pairs: Iterable[Pair]) -> dict[str, int]:
    """Start weights of each aligned model to the number of distinct defended weights; what the defense leaves of a tuning counts, and not what it asks."""
    found: dict[str, set[str]] = {}
    for one, other in pairs:
        found.setdefault(other.start, set()).add(one.digest)
    return {start: len(digests) for start, digests in found.items()}


def effect(
    pairs: Sequence[Pair], condition: str = "train", split: Split = "report", kind: Kind = "disallowed", only: frozenset[str] | None = None
) -> Crossed | None:
    """Defended minus undefended, each question against itself; None where fewer than two questions (or categories) are shared.

    Args:
        only: names of the questions that count; None is all.
    """
    differences: dict[str, Values] = {}
    clusters: dict[str, str] = {}
    for name, (one, other) in distinct(pairs).items():
        (defended, categories), (plain, _) = one.values(kind, condition, split=split), other.values(kind, condition, split=split)
        shared = {question: defended[question] - plain[question] for question in defended if question in plain and (only is None or question in only)}
        if shared:
            differences[name] = shared
            clusters |= categories
    return over(differences, clusters, {name: other.start for name, (_, other) in distinct(pairs).items()})


def rise(tuned: Sequence[Tuned], condition: str = "train", split: Split = "report") -> Crossed | None:
    """After minus before; None as in ``effect``."""
    differences: dict[str, Values] = {}
    clusters: dict[str, str] = {}
    starts: dict[str, str] = {}
    for one in tuned:
        (after, categories), (before, _) = (one.values("disallowed", condition, when, split) for when in ("after", "before"))
        if shared := {question: after[question] - before[question] for question in after if question in before}:
            differences.setdefault(one.digest, shared)
            starts[one.digest] = one.start
            clusters |= categories
    return over(differences, clusters, starts)


def over(differences: Mapping[str, Values], clusters: Mapping[str, str], starts: Mapping[str, str]) -> Crossed | None:
    """The mean over questions in their categories, and over runs in their aligned models where there are several of these."""
    families = {name: starts[name] for name in differences}
    several = len(set(families.values())) > 1
    grouped = len({clusters[question] for values in differences.values() for question in values}) > 1
    try:
        return stats.crossed(differences, clusters=clusters if grouped else None, families=families if several else None, bounds=stats.CHANGE)
    except DataError:
        return None


def rests_on(pairs: Sequence[Pair], found: Crossed) -> str:
    """What a difference speaks for, in words."""
    runs = runs_of(pairs)
    told = f"{words.count(sum(runs.values()), 'run')} of {words.count(len(runs), 'aligned model')}, {words.count(found.n, 'question')}"
    return f"{told}; the interval covers {' and '.join(found.covers)}"
