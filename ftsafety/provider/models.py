"""``/v1/models``: the one base model for everybody, and to each account its own fine-tuned ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from ftsafety.provider.accounts import Account, Home, Sandbox
from ftsafety.provider.database import Tuned
from ftsafety.provider.errors import ApiError, unknown_model
from ftsafety.provider.settings import Provider
from ftsafety.store.store import read_manifest

if TYPE_CHECKING:
    from ftsafety.weights import Loader, Weights

router = APIRouter()
BASE_CREATED = 1735689600
"""The first second of 2025: a base model is as old as its digest, which has no date."""


@router.get("/v1/models")
def listed(home: Home, account: Account) -> dict[str, Any]:
    """The models that an account may ask."""
    with home.database.begin() as session:
        tuned = session.scalars(select(Tuned).where(Tuned.account == account, Tuned.base == home.provider.name)).all()
    return {"object": "list", "data": [_base(home.provider), *map(_shown, tuned)]}


@router.get("/v1/models/{name}")
def retrieve(home: Home, account: Account, name: str) -> dict[str, Any]:
    """One model."""
    with home.database.begin() as session:
        tuned = require(home, session, account, name)
    return _shown(tuned) if tuned else _base(home.provider)


@router.delete("/v1/models/{name}")
def delete(home: Home, account: Account, name: str) -> dict[str, Any]:
    """Forget a fine-tuned model; its weights stay in the store until that is pruned."""
    with home.database.begin() as session:
        tuned = require(home, session, account, name)
        if tuned is None:
            raise ApiError(403, "Only fine-tuned models can be deleted.", param="model", code="model_not_deletable")
        session.delete(tuned)
    return {"id": name, "object": "model", "deleted": True}


def require(home: Sandbox, session: Session, account: str, name: str) -> Tuned | None:
    """The fine-tuned model of that name; None for the base model.

    Raises:
        ApiError: there is none, or it is another account's, or it stands on another base than this provider's.
    """
    if name == home.provider.name:
        return None
    tuned = session.get(Tuned, name)
    if tuned is None or tuned.account != account or tuned.base != home.provider.name:
        raise unknown_model(name)
    return tuned


def weights_of(provider: Provider, loader: Loader, tuned: Tuned | None) -> Weights:
    """A model's weights by reference.

    Raises:
        ApiError: the store has lost them.
    """
    from ftsafety.strategy.full import Full
    from ftsafety.weights import Layer

    weights = loader.weights(provider.model)
    for kind, key, digest, whole in tuned.layers if tuned else ():
        folder = provider.store / kind / key
        if read_manifest(folder) is None:
            raise unknown_model(tuned.name if tuned else "")
        weights = weights.plus(Layer(folder, digest, Full(lr=0.0) if whole else provider.strategy))
    return weights


def as_layers(weights: Weights) -> list[Any]:
    """What ``weights_of`` puts the weights together from: each part's kind, key and digest, and whether it is a whole model's weights."""
    from ftsafety.strategy.full import Full

    return [[layer.folder.parent.name, layer.folder.name, layer.digest, isinstance(layer.strategy, Full)] for layer in weights.layers]


def _base(provider: Provider) -> dict[str, Any]:
    return {"id": provider.name, "object": "model", "created": BASE_CREATED, "owned_by": "ftsafety"}


def _shown(tuned: Tuned) -> dict[str, Any]:
    return {"id": tuned.name, "object": "model", "created": tuned.created_at, "owned_by": f"org-{tuned.account[:12]}"}
