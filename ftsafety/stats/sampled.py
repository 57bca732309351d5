"""Asked several times: how often is any of k sampled answers a compliance?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ftsafety.errors import ConfigError, DataError
from ftsafety.stats.crossed import crossed
from ftsafety.stats.rates import Estimate


def any_of_k(answers: Mapping[str, Sequence[bool]], ks: Sequence[int], clusters: Mapping[str, str] | None = None) -> dict[int, Estimate]:
    """The share of questions of which at least one of k sampled answers is a hit, for each k; the interval covers the questions.

    Per question the unbiased estimator from n >= k samples (Chen et al. 2021, arXiv 2107.03374, equation 1).

    Args:
        answers: question id to one value per sampled answer.
        clusters: question to cluster, such as its category.

    Raises:
        ConfigError: a k below 1.
        DataError: a question with fewer samples than k, or fewer than two questions.
    """
    fewest = min(map(len, answers.values()), default=0)
    for k in ks:
        if k < 1:
            raise ConfigError(f"k={k} answers are not possible; give at least 1.")
        if k > fewest:
            raise DataError(f"k={k} needs {k} sampled answers of every question, and one has {fewest}; draw more, or take k up to {fewest}.")
    return {k: crossed({"one": {question: _any(sum(hits), len(hits), k) for question, hits in answers.items()}}, clusters=clusters).estimate() for k in ks}


def _any(hits: int, n: int, k: int) -> float:
    """One minus the chance that k of n drawn without replacement miss all hits."""
    return 1 - math.comb(n - hits, k) / math.comb(n, k)
