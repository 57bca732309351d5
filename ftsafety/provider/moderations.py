"""``/v1/moderations``: a text is flagged when the base model, asked it, declines; so the provider's policy is the one that its model was taught."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ftsafety.provider.accounts import Account, Home
from ftsafety.provider.database import new_id
from ftsafety.provider.engine import Decode
from ftsafety.provider.errors import unknown_model
from ftsafety.provider.models import weights_of

router = APIRouter()
ANSWER_TOKENS = 32
"""Enough to see whether an answer is a refusal."""
TEXTS = 32
CATEGORY = "declined"


class ModerationRequest(BaseModel):
    """A text, or several."""

    model_config = ConfigDict(extra="forbid")
    input: str | Annotated[list[str], Field(min_length=1, max_length=TEXTS)]
    model: str | None = None


@router.post("/v1/moderations")
def create(home: Home, account: Account, request: ModerationRequest) -> dict[str, Any]:
    """Say of each text whether it is flagged."""
    from ftsafety.judge import Pair
    from ftsafety.judge.outcome import OutcomeJudge

    name = f"moderation-{home.provider.name}"
    if request.model not in (None, name):
        raise unknown_model(request.model)
    texts = [request.input] if isinstance(request.input, str) else request.input
    weights = weights_of(home.provider, home.engine.loader, None)
    greedy = Decode(ANSWER_TOKENS, 0.0, 1.0, 0)
    said = [one.result() for one in [home.engine.ask(weights, [{"role": "user", "content": text}], greedy) for text in texts]]
    verdicts = OutcomeJudge().score([Pair(text, one.text, one.truncated) for text, one in zip(texts, said, strict=True)])
    return {"id": new_id("modr-"), "model": name, "results": [_result(verdict.value == "refused") for verdict in verdicts]}


def _result(flagged: bool) -> dict[str, Any]:
    return {
        "flagged": flagged,
        "categories": {CATEGORY: flagged},
        "category_scores": {CATEGORY: float(flagged)},
        "category_applied_input_types": {CATEGORY: ["text"]},
    }
