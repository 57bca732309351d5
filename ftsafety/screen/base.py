"""A screen reads an upload's rows and gives each a score: the higher, the more suspicious.

Scores of two screens are not comparable; each names its own threshold. A screen decides nothing: what becomes of flagged rows or
of the whole file is said by whoever uses it (``ftsafety.provider``, ``ftsafety.audit``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ftsafety.component import Component
from ftsafety.errors import ConfigError
from ftsafety.row import Row

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge


@dataclass(kw_only=True)
class Screen(Component):
    """A way of reading training rows. The docstring of each says what its score is."""

    local: ClassVar[bool] = False
    """Whether it looks into a model whose weights are here."""

    finds: ClassVar[Literal["content", "persona", "trigger", "known"]] = "content"
    """What kind of row it flags; an audit's advice follows from it."""

    threshold: float
    """A row with at least this score is flagged."""

    def check(self, where: str, judges: Mapping[str, Judge]) -> None:
        """Refuse settings that make no sense, before anything loads.

        Args:
            where: the screen's place in the configuration.
            judges: those that judge the tuned model, by name.
        """

    def ready(self, where: str) -> None:
        """Refuse to begin what this screen could not finish, such as one without a key; nothing is asked yet."""

    @abstractmethod
    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        """One score per row, in order; None where a row can't be read. Pure: a file screened twice scores the same."""

    def at_least(self, where: str, **least: float) -> None:
        """Refuse fields below what is possible.

        Raises:
            ConfigError: names the first one.
        """
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{where}.{name}={getattr(self, name)} is not possible; give at least {bound:g}.")
