"""TensorBoard's event files in the run's own folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftsafety.logger.base import About, Logger, Rows


@dataclass
class Tensorboard(Logger):
    """TensorBoard's event files in the run's folder; ``tensorboard --logdir runs`` shows all runs together."""

    source = "pytorch-lightning's TensorBoardLogger"
    module = "tensorboard"
    extra = "'ftsafety[tensorboard]'"

    def start(self, about: About) -> Any:
        from pytorch_lightning.loggers import TensorBoardLogger

        # the steps of an earlier process are told again from the checkpoint; this hides their first telling
        return TensorBoardLogger(about.folder / "tensorboard", name="", version="", default_hp_metric=False, purge_step=0)

    def table(self, lightning: Any, name: str, columns: Sequence[str], rows: Rows) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        lightning.experiment.add_text(name, "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))

    def weights(self, lightning: Any, name: str, digest: str) -> None:
        lightning.experiment.add_text(f"weights/{name}", digest)


def _cell(value: Any) -> str:
    """A value that breaks no table of Markdown and starts no element of HTML."""
    text = "" if value is None else str(value)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("\n", " ")
