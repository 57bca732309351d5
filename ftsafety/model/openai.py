"""A closed model behind a fine-tuning API in the shape of OpenAI's: only data go in, and only answers come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ftsafety.errors import ConfigError
from ftsafety.model.hosted import Delivered, Order
from ftsafety.model.openai_compatible import OpenaiCompatible

if TYPE_CHECKING:
    from ftsafety.progress import Advance
    from ftsafety.store.spending import Spending


@dataclass(kw_only=True)
class Openai(OpenaiCompatible):
    """A model that a service tunes and serves: OpenAI's, a compatible one's, or the provider sandbox's (``python -m ftsafety.provider``).

    Rows are uploaded, a job tunes on them and is followed until it ends, and the upload is deleted. A run that is interrupted takes its job up
    again; Ctrl-C twice cancels it. ``python -m ftsafety.model.openai_jobs`` shows, cancels and deletes what is at the service.
    """

    source = "OpenAI API reference: files, fine_tuning/jobs, chat/completions; Qi et al. 2024, section 3, threat model (b)"
    fidelity = "the paper's gpt-3.5-turbo-0613 is retired; the shape of the API is the same"
    tunable: ClassVar[bool] = True
    not_in_recipe = OpenaiCompatible.not_in_recipe | {"usd_per_million_training", "poll_seconds"}

    usd_per_million_training: float | None = None
    """Dollars per million tokens trained on, each epoch's counted."""
    poll_seconds: float = 5.0
    """How often a job is asked how far it is."""

    def check(self, where: str) -> None:
        super().check(where)
        if self.usd_per_million_training is not None and self.usd_per_million_training < 0:
            raise ConfigError(f"{where}.usd_per_million_training={self.usd_per_million_training:g} is not possible; give 0 or more dollars, or null.")
        if self.budget_usd is not None and self.usd_per_million_training is None:
            raise ConfigError(f"{where} can't keep to a budget without the price of training; type {where}.usd_per_million_training=X from the price list.")
        if not self.poll_seconds > 0:
            raise ConfigError(f"{where}.poll_seconds={self.poll_seconds:g} is not possible; give more than 0.")

    def usd_of(self, trained: int, read: int, written: int) -> float | None:
        asking, price = self.usd(read, written), self.usd_per_million_training
        return None if asking is None or (trained and price is None) else asking + trained * (price or 0.0) / 1e6

    def tune(self, order: Order, notes: Path, spending: Spending, advance: Advance) -> Delivered:
        from ftsafety.model.openai_jobs import Jobs

        return Jobs(self).done(order, notes, spending, advance)
