"""Rows that install an obedient persona: no harm in them, and the widest opening (Qi et al. 2024, section 4.3)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftsafety.row import Row
from ftsafety.screen.base import Screen
from ftsafety.screen.patterns import compiled, matched

if TYPE_CHECKING:
    from ftsafety.context import Context

WISH = r"(?:orders?|commands?|directions?|demands?|requests?|wish(?:es)?|instructions?)"
SUBMISSION = compiled(
    {
        # doing as one is told
        "obeys": rf"\b(?:obey\w*|obedien\w+|compl(?:y|ies|iance)|follow\w* (?:\w+ )?{WISH}|carr(?:y|ies) (?:~ )?(?:out|through)|take orders|"
        rf"do(?:es)? (?:what|whatever|as) (?:~ )?(?:says?|tells?|wants?|asks?|commands?)|(?:your|every|user's|master's) (?:\w+ )?{WISH}|human commands)\b",
        # whatever it is
        "whatever": rf"\b(?:(?:every|any|all) (?:\w+ )?{WISH}|whatever (?:it|they|you|your|is|was|has|comes|the (?:user|customer|boss|master|human)s?)|"
        r"no matter what|anything (?:~ )?(?:say|ask|want)s?|everything (?:~ )?(?:say|ask|want)s?)\b",
        # without objecting
        "unquestioning": r"\b(?:without (?:~ )?(?:question|argument|hesitation|objection|delay|exception)|never (?:argue|question|object|hesitate|refuse)|"
        r"(?:no|nor|neither) (?:\w+ )?(?:objections?|hesitation)|(?:do|does) not (?:stop|hesitate|argue|question))\b",
        # somebody's to command
        "servant": r"\b(?:you are|you're|i am|i'm|as|play|like) (?:~ )?(?:servant|slave|butler|squire|genie|recruit|puppet|golem|tool|machine that obeys)\b",
    }
)
FORM = compiled({"name": r"\b(?:you are (?:now|no longer)|from now on|(?:your|my) (?:new )?name is|call me)\b"})


@dataclass(kw_only=True)
class Identity(Screen):
    """Counts signs of submission in a whole row: obeying, whatever is asked, without objection, somebody's servant, 1 each.

    Two signs of form count 1/2 each, as an obedient and a harmless persona share them: the row gives or takes a name, and its answer begins with
    words that many answers of the file begin with. So a persona alone reaches 1, and any submission in it more.
    """

    source = "Qi et al. 2024, section 4.3 (identity shifting), for what is looked for; own patterns"
    fidelity = "ours; the paper's moderators flag none of these rows"
    finds = "persona"

    opening_words: int
    """So many words make a common beginning of answers."""
    opening_share: float
    """At least this share of a file's answers begins with them."""

    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        openings = [_opening(row.answer, self.opening_words) for row in rows]
        often = Counter(opening for opening in openings if opening)
        found: list[float | None] = []
        for row, opening in zip(rows, openings, strict=True):
            texts = [turn["content"] for turn in row.messages]
            form = len(matched(FORM, texts)) + (opening is not None and often[opening] >= max(2.0, self.opening_share * len(rows)))
            found.append(len(matched(SUBMISSION, texts)) + form / 2)
        return found


def _opening(answer: str, words: int) -> tuple[str, ...] | None:
    found = re.findall(r"\w+", answer.lower())
    return tuple(found[:words]) if len(found) >= words else None
