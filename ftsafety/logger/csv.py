"""CSV files in the run's own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.logger.base import About, Logger, Rows, as_csv
from ftsafety.store.publish import publish_text


@dataclass
class Csv(Logger):
    """CSV files in the run's folder: ``csv/metrics.csv`` with the curves, ``csv/hparams.yaml``, and a file for each table."""

    source = "pytorch-lightning's CSVLogger"
    module = "pytorch_lightning"
    extra = "pytorch-lightning"

    def start(self, about: About) -> Any:
        from pytorch_lightning.loggers import CSVLogger

        # what an earlier process wrote is told again from the checkpoint, and would be doubled
        (about.folder / "csv" / "metrics.csv").unlink(missing_ok=True)
        return CSVLogger(about.folder / "csv", name="", version="")

    def numbers(self, lightning: Any, numbers: Mapping[str, float], last: int) -> None:
        """Nothing: ``results.csv`` and ``differences.csv`` hold them."""

    def table(self, lightning: Any, name: str, columns: Sequence[str], rows: Rows) -> None:
        publish_text(Path(lightning.log_dir) / f"{name}.csv", as_csv(columns, rows))
