"""What a reader wants to see with their own eyes: one training row with its loss mask, ten answers before and after, and answers that judges read differently.

Texts are kept only where they may be published: on the stand-in's own questions, or with ``reveal=true``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftsafety.benchmark.stand_in import StandIn
from ftsafety.chat import IGNORED, encode
from ftsafety.hashing import digest_of
from ftsafety.judge_check import words_of
from ftsafety.row import Row

if TYPE_CHECKING:
    from ftsafety.cell import Cell
    from ftsafety.measure import Asked
    from ftsafety.stages import House
    from ftsafety.weights import Weights

PAIRS = 10
DIFFERING = 12
"""So many answers that judges read differently."""


def evidence(cell: Cell, house: House, start: Weights, rows: Sequence[Row], asked: dict[str, list[Asked]]) -> dict[str, Any]:
    """The example and the pairs, as JSON data; texts are left out where they may not be shown."""
    attack = getattr(cell.attack, "of", cell.attack)
    example = _example(house, start, rows) if rows and start.model.local and (cell.reveal or (attack is not None and attack.publishable)) else None
    pairs = _pairs(cell, asked, cell.reveal)
    shown = example is not None or any(pair["text"] is not None for pair in pairs)
    return {"shown": shown, "example": example, "pairs": pairs, "differing": _differing(cell, asked)}


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


def _differing(cell: Cell, asked: dict[str, list[Asked]]) -> dict[str, Any]:
    """Answers to questions that should be declined of which one judge says complied and another does not: how many, and a fixed draw of them."""
    judges = {name: judge for name, judge in cell.judges.items() if "complied" in words_of(judge)}
    found: dict[str, dict[str, Any]] = {}
    for weights, one in ((weights, one) for weights, several in asked.items() for one in several if one.kind == "disallowed"):
        may_show = cell.reveal or isinstance(cell.benchmarks[one.asking.benchmark], StandIn)
        for at, (question, answer) in enumerate(zip(one.questions, one.answers, strict=True)):
            says = {name: judge.outcome(one.verdicts[name][at]) for name, judge in judges.items() if name in one.verdicts}
            if len({outcome == "complied" for outcome in says.values() if outcome not in (None, "unscored")}) == 2:
                digest = digest_of(answer.text)[:16]
                # several weights and conditions may give one answer, which is shown once
                found.setdefault(
                    digest_of([question.id, digest]),
                    {
                        "question": question.id, "category": question.category, "text": question.text if may_show else None, "weights": weights,
                        "condition": one.asking.condition, "answer": answer.text if may_show else None, "digest": digest, "truncated": answer.truncated,
                        "says": says,
                    },
                )  # fmt: skip
    return {"answers": len(found), "drawn": [found[key] for key in sorted(found)[:DIFFERING]]}
