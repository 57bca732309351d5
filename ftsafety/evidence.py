"""What a reader wants to see with their own eyes: one training row with its loss mask, and ten answers before and after.

Texts are kept only where they may be published: on the stand-in's own questions, or with ``reveal=true``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftsafety.benchmark.stand_in import StandIn
from ftsafety.chat import IGNORED, encode
from ftsafety.hashing import digest_of
from ftsafety.row import Row

if TYPE_CHECKING:
    from ftsafety.cell import Cell
    from ftsafety.measure import Asked
    from ftsafety.stages import House
    from ftsafety.weights import Weights

PAIRS = 10


def evidence(cell: Cell, house: House, start: Weights, rows: Sequence[Row], asked: dict[str, list[Asked]]) -> dict[str, Any]:
    """The example and the pairs, as JSON data; texts are left out where they may not be shown."""
    attack = getattr(cell.attack, "of", cell.attack)
    example = _example(house, start, rows) if rows and (cell.reveal or (attack is not None and attack.publishable)) else None
    pairs = _pairs(cell, asked, cell.reveal)
    return {"shown": example is not None or any(pair["text"] is not None for pair in pairs), "example": example, "pairs": pairs}


def _example(house: House, start: Weights, rows: Sequence[Row]) -> dict[str, Any]:
    """The first row as the model sees it: pieces of text, and whether each carries loss."""
    tokenizer = house.loader.tokenizer(start)
    row = encode(tokenizer, rows[0], 10**6)
    pieces: list[list[Any]] = []
    for token, label in zip(row.ids, row.labels, strict=True):
        if not pieces or pieces[-1][1] is not (label != IGNORED):
            pieces.append([[], label != IGNORED])
        pieces[-1][0].append(token)
    return {"row": row.id, "pieces": [[tokenizer.decode(ids), learned] for ids, learned in pieces], "tokens": len(row.ids), "labelled": row.labelled}


def _pairs(cell: Cell, asked: dict[str, list[Asked]], reveal: bool) -> list[dict[str, Any]]:
    """Ten questions over all categories, in the train condition, with each state's answer and first judge's verdict."""
    last = next((label for label in ("repaired", "tuned") if label in asked), None)
    before = next((one for one in asked["initial"] if one.kind == "disallowed"), None)
    if before is None:
        return []
    after = next((one for one in asked[last] if one.asking == before.asking), None) if last else None
    may_show = reveal or isinstance(cell.benchmarks[before.asking.benchmark], StandIn)
    step = max(1, len(before.questions) // PAIRS)
    judge = next(iter(before.verdicts))
    pairs = []
    for at in range(0, step * min(PAIRS, len(before.questions)), step):
        question = before.questions[at]
        states = {"before": before} | ({"after": after} if after else {})
        pairs.append(
            {
                "question": question.id,
                "category": question.category,
                "text": question.text if may_show else None,
                **{
                    name: {
                        "text": one.answers[at].text if may_show else None,
                        "digest": digest_of(one.answers[at].text)[:16],
                        "truncated": one.answers[at].truncated,
                        "verdict": one.verdicts[judge][at].value,
                    }
                    for name, one in states.items()
                },
            }
        )
    return pairs
