"""Agreement beyond chance: Cohen's kappa of two judges, Krippendorff's alpha of any number, for verdicts without an order.

Both are 1 - D / E, where D is how often verdicts of the same answer differ and E how often they would by chance. Their intervals leave out one
cluster after another (the jackknife), so that answers of several weights to the same question count as the one question that they are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

from ftsafety.stats.rates import LEVEL, Estimate, rate

Verdicts = tuple[Hashable | None, ...]
"""What each judge says of one answer; None where it could not read it."""
Disagreement = tuple[float, float]


def kappa(first: Sequence[Hashable | None], second: Sequence[Hashable | None], clusters: Sequence[str] | None = None) -> Estimate | None:
    """Cohen 1960 (Educational and Psychological Measurement 20, 37), on the answers that both could read.

    Args:
        first, second: each judge's verdicts on the same answers; None where one could not read it.
        clusters: the question of each answer; left out, every answer is one of its own.

    Returns:
        None where there is nothing to agree on: no answer that both read, or all verdicts the same.
    """
    return _agreement(list(zip(first, second, strict=True)), clusters, _by_judge)


def alpha(verdicts: Sequence[Verdicts], clusters: Sequence[str] | None = None) -> Estimate | None:
    """Krippendorff's alpha, nominal, on the answers that two judges or more could read (Krippendorff 2011, Computing alpha-reliability).

    Args:
        verdicts: of each answer what every judge says of it.
        clusters: as in ``kappa``.

    Returns:
        None where there is nothing to agree on.
    """
    return _agreement(verdicts, clusters, _pooled)


def _by_judge(answers: Mapping[Verdicts, int]) -> Disagreement:
    """Chance as Cohen has it: each judge keeps its own shares."""
    total = sum(answers.values())
    first, second = (_counts(answers, at) for at in (0, 1))
    alike = sum(first[value] * second[value] for value in first)
    return sum(n for (a, b), n in answers.items() if a != b) / total, 1 - alike / total**2


def _counts(answers: Mapping[Verdicts, int], at: int) -> Counter[Hashable]:
    counts: Counter[Hashable] = Counter()
    for verdicts, n in answers.items():
        counts[verdicts[at]] += n
    return counts


def _pooled(answers: Mapping[Verdicts, int]) -> Disagreement:
    """Chance as Krippendorff has it: verdicts are drawn from all judges' together, without putting back."""
    values: Counter[Hashable] = Counter()
    differing = 0.0
    for verdicts, n in answers.items():
        said = Counter(value for value in verdicts if value is not None)
        m = said.total()
        values.update({value: n * count for value, count in said.items()})
        differing += n * (m * m - sum(count * count for count in said.values())) / (m - 1)
    total = values.total()
    return differing / total, (total * total - sum(count * count for count in values.values())) / (total * (total - 1))


def _agreement(verdicts: Sequence[Verdicts], clusters: Sequence[str] | None, disagreement: Callable[[Mapping[Verdicts, int]], Disagreement]) -> Estimate | None:
    told: dict[str, Counter[Verdicts]] = {}
    for said, cluster in zip(verdicts, clusters or map(str, range(len(verdicts))), strict=True):
        if sum(value is not None for value in said) >= 2:
            told.setdefault(cluster, Counter())[said] += 1
    everything = sum(told.values(), Counter())
    if not everything or not (whole := disagreement(everything))[1]:
        return None
    value, n = 1 - whole[0] / whole[1], everything.total()
    without = [disagreement(rest) for counts in told.values() if (rest := everything - counts)]
    if len(without) < len(told) or len(told) < 2 or not all(chance for _, chance in without):
        # a single question decides
        return Estimate(value, -1.0, 1.0, n)
    if not whole[0]:
        # no cluster changes anything: Wilson's limit of how many more could differ
        return Estimate(value, max(-1.0, 1 - rate([False] * len(told)).high / whole[1]), 1.0, n)
    half = _half_width([1 - differing / chance for differing, chance in without])
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), n)


def _half_width(without: Sequence[float]) -> float:
    from scipy import stats

    center = math.fsum(without) / len(without)
    error = math.sqrt((len(without) - 1) / len(without) * math.fsum((value - center) ** 2 for value in without))
    return float(stats.t.ppf((1 + LEVEL) / 2, len(without) - 1)) * error
