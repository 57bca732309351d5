"""Intervals and tests. Libraries do the arithmetic; by hand only what they lack, with known-answer tests.

All intervals are two-sided at 95 % unless a level is given. ``rates`` speaks for the draw of the questions of one run; ``crossed`` for questions
and runs, which is what a claim about a method needs.
"""

from ftsafety.stats.agreement import alpha, kappa
from ftsafety.stats.calibrated import Confusion, Corrected, power_tuned, ppi, rogan_gladen
from ftsafety.stats.crossed import CHANGE, RATE, Crossed, crossed, distinct
from ftsafety.stats.dose import Budget, DoseResponse, dose_response
from ftsafety.stats.equivalence import Equivalence, preserved_crossed, preserved_mean, preserved_rate
from ftsafety.stats.matched import Matched, Point, matched
from ftsafety.stats.needed import Components, Design, best_width, components, designs
from ftsafety.stats.null import Band, null_band
from ftsafety.stats.rates import LEVEL, Estimate, mean, paired_mean, paired_rate, questions_needed, rate
from ftsafety.stats.roc import roc_area, threshold_at
from ftsafety.stats.sampled import any_of_k
from ftsafety.stats.several import holm

__all__ = [
    "CHANGE",
    "LEVEL",
    "RATE",
    "Band",
    "Budget",
    "Components",
    "Confusion",
    "Corrected",
    "Crossed",
    "Design",
    "DoseResponse",
    "Equivalence",
    "Estimate",
    "Matched",
    "Point",
    "alpha",
    "any_of_k",
    "best_width",
    "components",
    "crossed",
    "designs",
    "distinct",
    "dose_response",
    "holm",
    "kappa",
    "matched",
    "mean",
    "null_band",
    "paired_mean",
    "paired_rate",
    "power_tuned",
    "ppi",
    "preserved_crossed",
    "preserved_mean",
    "preserved_rate",
    "questions_needed",
    "rate",
    "roc_area",
    "rogan_gladen",
    "threshold_at",
]
