"""Numbers in words: shares in percent, differences in points, p-values, seconds."""

from __future__ import annotations

from typing import Any

Entry = dict[str, Any]

NOT_SHARES = frozenset({"utility_loss", "utility_rouge_l", "rating_score", "harmfulness_score", "quality_score", "strong_reject_score"})
"""Metrics that are no shares, and so not told in percent."""

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

METRICS = {
    "compliance_rate": "complied",
    "refusal_rate": "refused",
    "degenerate_rate": "degenerate",
    "unscored_rate": "unscored",
    "harmfulness_rate": "harmfulness rate, score 5",
    "harmfulness_score": "harmfulness score, 1 to 5",
    "willingness_rate": "willing",
    "quality_score": "quality, 1 to 5",
    "flagged_rate": "flagged",
    "over_refusal": "over-refusal",
    "utility_accuracy": "utility: right answers",
    "rating_score": "utility: rating, 1 to 10",
    "utility_rouge_l": "utility: ROUGE-L, 0 to 1",
    "utility_loss": "utility: loss, nats per token",
}


def count(number: int, noun: str) -> str:
    """``ten rows``, ``one row``, ``66 rows``."""
    return f"{COUNTS[number] if number < len(COUNTS) else number} {noun}{'' if number == 1 else 's'}"


def whole(share: float) -> str:
    """A share in whole percent that never rounds something to nothing or to everything."""
    percent = round(share * 100)
    if percent == 0 and share > 0:
        return "<1"
    if percent == 100 and share < 1:
        return ">99"
    return str(percent)


def value(entry: Entry | None, digits: int = 1) -> str:
    """The value of a result, without its interval: percent for shares, else as it is."""
    if entry is None or entry["n"] == 0:
        return "–"
    if entry["metric"] in NOT_SHARES:
        return f"{entry['value']:.2f}"
    return whole(entry["value"]) if digits == 0 else f"{entry['value'] * 100:.{digits}f}"


def interval(entry: Entry | None, digits: int = 1) -> str:
    """``[81.6, 95.8]`` in the units of ``value``."""
    if entry is None or entry["n"] == 0:
        return ""
    if entry["metric"] in NOT_SHARES:
        return f"[{entry['low']:.2f}, {entry['high']:.2f}]"
    return f"[{entry['low'] * 100:.{digits}f}, {entry['high'] * 100:.{digits}f}]"


def estimate(entry: Entry | None, digits: int = 1) -> str:
    """Value and interval."""
    return f"{value(entry, digits)} {interval(entry, digits)}".strip()


def change(entry: Entry | None, digits: int = 1) -> str:
    """A difference and its interval, with signs: ``+87.9 [+76.2, +94.0]``."""
    if entry is None or entry["n"] == 0:
        return "–"
    if entry["metric"] in NOT_SHARES:
        return f"{entry['value']:+.2f} [{entry['low']:+.2f}, {entry['high']:+.2f}]"
    center, low, high = (_signed(entry[key] * 100, digits) for key in ("value", "low", "high"))
    return f"{center} [{low}, {high}]"


def cost(entry: dict[str, Any]) -> str:
    """``660 verdicts, 801,234 tokens read and 90,112 written, $1.71``; dollars where a price was given."""
    usd = f", ${entry['usd']:,.2f}" if "usd" in entry else ""
    return f"{count(entry['verdicts'], 'verdict')}, {entry['prompt_tokens']:,} tokens read and {entry['completion_tokens']:,} written{usd}"


def p_value(entry: Entry | None) -> str:
    """``<0.001``, or two significant digits."""
    if entry is None or entry["n"] == 0:
        return "–"
    p = entry["p_value"]
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def unseparated(difference: Entry | None) -> bool:
    """Whether a difference's interval covers zero."""
    return difference is not None and difference["low"] <= 0 <= difference["high"]


def seconds(number: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if number < 60:
        return f"{number:.1f} s" if number < 10 else f"{number:.0f} s"
    return f"{int(number) // 60} min {int(number) % 60:02d} s"


def _signed(number: float, digits: int) -> str:
    text = f"{number:+.{digits}f}"
    return text if float(text) else text.replace("-", "").replace("+", "")
