"""Personal data in texts that has a form of its own: e-mail addresses, phone, card, account and social security numbers, network addresses.

Names and places would take a language model, and none is loaded: what is not counted here is not excluded.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from ftsafety.row import Row

REGIONS = ("US", "GB", "DE", "FR", "IN", "AU")
"""Whose ways of writing a phone number are read besides the international one."""
LEAST = 0.4
"""Presidio's score of a phone number that is one by its form alone."""
MISSING = "not looked for: presidio-analyzer is not installed; type pip install 'ftsafety[audit]'."


def personal_data(rows: Iterable[Row]) -> dict[str, Any]:
    """In how many rows each kind of personal data stands; no value and no place of it is given."""
    if find_spec("presidio_analyzer") is None:
        return {"looked": False, "why": MISSING, "kinds": {}, "rows": 0}
    recognizers = _recognizers()
    counts: dict[str, int] = {}
    found = 0
    for row in rows:
        text = "\n".join(turn["content"] for turn in row.messages)
        kinds = {
            result.entity_type
            for recognizer in recognizers
            for result in recognizer.analyze(text, recognizer.supported_entities, None)
            if result.score >= LEAST
        }
        found += bool(kinds)
        for kind in kinds:
            counts[kind.lower()] = counts.get(kind.lower(), 0) + 1
    return {"looked": True, "why": "", "kinds": dict(sorted(counts.items())), "rows": found}


def _recognizers() -> list[Any]:
    """Presidio's recognizers that read forms; none of them needs a language model or the network."""
    import logging

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    from presidio_analyzer import predefined_recognizers as known
    from tldextract import TLDExtract

    # the list of top-level domains that comes with the library: an audit of private rows asks nobody
    domains = TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Email(known.EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return bool(domains(pattern_text).top_domain_under_public_suffix)

    return [
        Email(),
        known.PhoneRecognizer(supported_regions=REGIONS),
        known.CreditCardRecognizer(),
        known.IbanRecognizer(),
        known.IpRecognizer(),
        known.UsSsnRecognizer(),
    ]
