"""No key or token may end up in a record: values of secret-looking environment variables are refused wherever we write."""

from __future__ import annotations

import os
from typing import Any

from ftsafety.errors import FtsafetyError

NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")
SHORTEST = 8


def refuse_secrets(data: Any) -> None:
    """Raise if any text in ``data`` contains the value of an environment variable named like a secret.

    Raises:
        FtsafetyError: names the variable, never its value.
    """
    secrets = {value: name for name, value in os.environ.items() if len(value) >= SHORTEST and any(part in name.upper() for part in NAMES)}
    if not secrets:
        return
    for text in _texts(data):
        for value, name in secrets.items():
            if value in text:
                raise FtsafetyError(
                    f"a setting holds the value of the environment variable {name}; leave it out of the configuration, it is read from the environment."
                )


def _texts(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    if isinstance(data, dict):
        return [text for key, value in data.items() for text in (str(key), *_texts(value))]
    if isinstance(data, (list, tuple)):
        return [text for value in data for text in _texts(value)]
    return []
