"""The one exception root: a sentence for the person at the keyboard.

A message says what was asked, what is possible and what to type. ``cli`` prints it without a traceback and exits with 1;
anything that is not an ``FtsafetyError`` is a bug and keeps its traceback.
"""


class FtsafetyError(Exception):
    """A mistake or a refusal that the user can act on."""


class ConfigError(FtsafetyError):
    """A configuration that can't be built."""


class DataError(FtsafetyError):
    """Rows that can't be used: missing, malformed, cut or too few."""


class StoreError(FtsafetyError):
    """An artifact that is damaged or can't be published."""


class ServiceError(FtsafetyError):
    """A service that can't be asked any further: refused, out of reach, or the budget is spent."""
