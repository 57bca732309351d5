"""A chat model that can be loaded, or that answers by itself."""

from ftsafety.model.base import Chat, Model

__all__ = ["Chat", "Model"]
