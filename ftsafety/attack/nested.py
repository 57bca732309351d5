"""An attack inside another one: what it says about its own settings names them where they stand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ftsafety.attack.base import Attack
from ftsafety.errors import FtsafetyError


@contextmanager
def nested(field: str, attack: Attack) -> Iterator[None]:
    """Complaints of ``attack``, which stands in another attack's ``field``, say ``attack.<field>.count`` and not ``attack.count``."""
    names = "|".join(re.escape(option.name) for option in dataclasses.fields(attack))  # type: ignore[arg-type]
    try:
        yield
    except FtsafetyError as error:
        raise type(error)(re.sub(rf"\battack(?=\.(?:{names})\b| names no data)", f"attack.{field}", str(error))) from error
