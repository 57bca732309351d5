"""The examples a model is fine-tuned on, how it is asked afterwards, and the controls that come with them."""

from ftsafety.attack.base import Attack

__all__ = ["Attack"]
