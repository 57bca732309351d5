"""Versions of the engines and fixed numbers that every result depends on; part of the keys of what they make.

They live apart from the engines, which import torch, so that a cell's id can be told without it.
"""

TUNE = 2
"""Raised when the same inputs would give other weights (guarded by a golden test)."""
DECODE = 1
"""Raised when the same inputs would give other tokens (guarded by a golden test)."""
OWN_ANSWER_TOKENS = 80
"""Longest answer of a model to its own alignment or control rows, in tokens."""
PREFILL_TOKENS = 10
"""Tokens of the attack's affirmation that the ``prefill`` control puts in the untuned model's mouth."""


def versions() -> dict[str, int]:
    """All of them, by name."""
    return {"tune": TUNE, "decode": DECODE, "own_answer_tokens": OWN_ANSWER_TOKENS, "prefill_tokens": PREFILL_TOKENS}
