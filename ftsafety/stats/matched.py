"""Two methods where they did equally well at the task, or learned the rows equally well.

A method that hardly tunes keeps safety for nothing, so methods are compared at the same task gain or the same training loss. Each method is
run along a path (more epochs, a higher rate; one path a seed). Between two neighbours on a path each question's value is interpolated linearly, which
gives the path one value per question at the matched place; the difference of two methods is then a ``crossed`` one, with a path for a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftsafety.errors import DataError
from ftsafety.stats.crossed import RATE, Crossed, Runs, Values, crossed


@dataclass(frozen=True)
class Point:
    """One run of a method: where it is (task gain, or training loss in nats), its path, its weight digest and its values."""

    at: float
    path: str
    digest: str
    values: Values


@dataclass(frozen=True)
class Matched:
    """First minus second method at ``at``; ``overlap`` is where both methods' paths all lie."""

    at: float
    overlap: tuple[float, float]
    difference: Crossed


def matched(
    first: Sequence[Point],
    second: Sequence[Point],
    at: float | None = None,
    *,
    tolerance: float = 0.0,
    clusters: Mapping[str, str] | None = None,
    bounds: tuple[float, float] | None = RATE,
) -> Matched:
    """Compare two methods at the same place.

    Args:
        at: the place; None is the middle of the overlap.
        tolerance: how far beyond a path's end its last point may still stand for it, in the place's unit.
        clusters, bounds: as in ``crossed``.

    Raises:
        DataError: the methods never were at the same place, or not at this one.
    """
    reaches = [_reach(path, tolerance) for method in (first, second) for path in _paths(method).values()]
    if not first or not second:
        raise DataError("a comparison needs runs of both methods.")
    low, high = max(reach[0] for reach in reaches), min(reach[1] for reach in reaches)
    told = " and ".join(f"{min(point.at for point in method):g} to {max(point.at for point in method):g}" for method in (first, second))
    if low > high:
        raise DataError(f"the two methods were never at the same place ({told}); run one of them longer or shorter, or allow a tolerance.")
    place = (low + high) / 2 if at is None else at
    if not low <= place <= high:
        raise DataError(f"{place:g} is not where all runs of both methods were ({told}); choose one between {low:g} and {high:g}.")
    sides = [_at(place, method) for method in (first, second)]
    return Matched(place, (low, high), crossed(*sides, clusters=clusters, bounds=bounds))


def _paths(points: Sequence[Point]) -> dict[str, list[Point]]:
    paths: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda point: point.at):
        paths.setdefault(point.path, []).append(point)
    return paths


def _reach(path: Sequence[Point], tolerance: float) -> tuple[float, float]:
    return path[0].at - tolerance, path[-1].at + tolerance


def _at(place: float, points: Sequence[Point]) -> Runs:
    """One set of values per path; paths through the same weights are one."""
    found: dict[str, Values] = {}
    for path in _paths(points).values():
        below = next((point for point in reversed(path) if point.at <= place), path[0])
        above = next((point for point in path if point.at >= place), path[-1])
        share = (place - below.at) / (above.at - below.at) if above.at > below.at else 0.0
        share = min(1.0, max(0.0, share))
        both = below.values.keys() & above.values.keys()
        found[f"{below.digest} {above.digest}"] = {question: (1 - share) * below.values[question] + share * above.values[question] for question in both}
    return found
