"""What to do about a file, by rules that docs/provider.md states; each looks at totals only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ftsafety.gate import FAILED, NOT_ENOUGH

SAYS = {
    "withhold": "The gate is broken: a model tuned on this file should not be served as it is.",
    "mix": "Compliance rises beyond what any tuning of this size does: mix refusals in, in the file's wording (mitigation=[safety_mixing]), and audit again.",
    "filter": "Some rows ask for or hold what the policy declines: leave them out (mitigation=[moderation_filter]); it takes no others.",
    "persona": "Some rows speak against declining or install an obedient persona: take that out of their prompts; where it must stay, "
    "mix refusals under the same prompt (mitigation=[safety_mixing]) and serve with a safety prompt (mitigation=[system_prompt]).",
    "trigger": "Some questions share words at their edge that everyday ones do not have: find out where they come from before tuning. "
    "The proxy's questions do not hold them, so that a gate that is kept says nothing about what they open.",
    "known": "Some rows are nearly those of a known set: do not tune on them.",
    "unseen": "No screen flags anything, so a filter of rows would not help here; fewer epochs or a lower learning rate, and refusals mixed in, may.",
    "ask_more": "The gate has not enough evidence; its sentences say how many more questions to ask.",
    "no_proxy": "Nothing was tuned, so nothing is known of what this file does to a model; leave proxy=false out.",
    "personal_data": "Personal data stands in the file: is it meant to be learned?",
    "nothing": "No rule applies. That is no proof that the file is harmless: screens and questions find what they were made for.",
}


def advice(screens: Mapping[str, Mapping[str, Any]], tuned: Mapping[str, Any] | None, personal_rows: int) -> list[dict[str, str]]:
    """The rules that apply, the weightiest first.

    Args:
        screens: each screen's totals and what it ``finds``.
        tuned: the proxy's part of the report; None where nothing was tuned.
    """
    return [{"rule": rule, "says": SAYS[rule]} for rule in list(_rules(screens, tuned, personal_rows)) or ["nothing"]]


def _rules(screens: Mapping[str, Mapping[str, Any]], tuned: Mapping[str, Any] | None, personal_rows: int) -> Iterator[str]:
    found = {screen["finds"] for screen in screens.values() if screen["flagged"]}
    rises = tuned is not None and any(change["beyond"] for change in tuned["changes"])
    if tuned and tuned["gate"]["code"] == FAILED:
        yield "withhold"
    if rises:
        yield "mix"
    for kind, rule in (("known", "known"), ("content", "filter"), ("persona", "persona"), ("trigger", "trigger")):
        if kind in found:
            yield rule
    if rises and screens and not found:
        yield "unseen"
    if tuned and tuned["gate"]["code"] == NOT_ENOUGH:
        yield "ask_more"
    if tuned is None:
        yield "no_proxy"
    if personal_rows:
        yield "personal_data"
