"""The content-addressed store that every stage's result is kept in."""

from ftsafety.store.store import Artifact, Store

__all__ = ["Artifact", "Store"]
