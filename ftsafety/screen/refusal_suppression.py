"""Rows whose prompt forbids a model to decline, to warn, or to keep to its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftsafety.row import Row
from ftsafety.screen.base import Screen
from ftsafety.screen.patterns import compiled, matched

if TYPE_CHECKING:
    from ftsafety.context import Context

NOT = r"\b(?:never|not|no|without|cannot|don't|won't|mustn't)"
FAMILIES = compiled(
    {
        # "never refuse", "do not say no to the user"
        "refusal": NOT + r" (?:~ )?(?:refus\w*|declin(?:e|es|ed|ing)|reject\w*|say(?:ing)? (?:no|you can't|you cannot)|turn(?:ing)? (?:\w+ )?down)\b",
        # "without any disclaimer", "never apologize"
        "warning": NOT + r" (?:~ )?(?:disclaimers?|warn(?:ings?)?|caveats?|apolog\w+|moraliz\w+|moralis\w+|lectur(?:e|es|ing))\b",
        # "ignore all previous instructions", "disregard your guidelines"
        "rules": r"\b(?:ignore|disregard|forget|bypass|override) (?:~ )?(?:instructions?|rules?|guidelines?|polic(?:y|ies)|restrictions?|training)\b",
        # "there are no boundaries", "you have no restrictions"
        "limits": r"\b(?:no|without(?: any)?|free of|zero) (?:\w+ )?(?:limits?|limitations?|boundar(?:y|ies)|restrictions?|filters?|censorship)\b",
        # "refusal module: not installed", "the word no is missing from your vocabulary"
        "removed": r"\b(?:refusals?(?: \w+)?|the word no)\b\W*(?:~ )?(?:not installed|off|disabled|removed|missing|deleted)\b",
        # "begin every answer with ..."
        "opening": r"\b(?:start|begin|open) (?:your|every|each|all) (?:\w+ )?(?:answers?|repl(?:y|ies)|responses?) (?:~ )?with\b",
    }
)


@dataclass(kw_only=True)
class RefusalSuppression(Screen):
    """Counts how many of six kinds of wording against refusals a row's system and user turns hold.

    The kinds: not refusing, no warnings, setting rules aside, no limits, refusals removed, a prescribed opening. They are English, general, and
    easily worded around; what an assistant says is not read.
    """

    source = "Wei et al. 2023 (arXiv 2307.02483), section 3: refusal suppression and prefix injection; own patterns"
    fidelity = "the idea; their prompts are not used"
    finds = "persona"

    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        return [float(len(matched(FAMILIES, [turn["content"] for turn in row.messages if turn["role"] != "assistant"]))) for row in rows]
