"""An MLflow server, or its folder of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftsafety.errors import FtsafetyError
from ftsafety.logger.base import About, Logger, Rows, as_csv

TAG = "ftsafety.run"
"""The tag by which a run is found again."""


@dataclass
class Mlflow(Logger):
    """MLflow: a tracking server, or files below the folder of runs."""

    source = "pytorch-lightning's MLFlowLogger"
    module = "mlflow"
    extra = "'ftsafety[mlflow]'"

    experiment: str
    """MLflow's experiment, which holds the runs."""
    tracking_uri: str | None
    """Where the server is; null is MLFLOW_TRACKING_URI, and without it the folder ``mlruns`` beside the runs' folders."""

    def start(self, about: About) -> Any:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from pytorch_lightning.loggers import MLFlowLogger

        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            uri = (about.folder.parents[1] / "mlruns").resolve().as_uri()
            # MLflow asks for this where files are wanted; a data base would need more libraries
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            client = MlflowClient(uri)
            there = client.get_experiment_by_name(self.experiment)
            earlier = client.search_runs([there.experiment_id], f"tags.`{TAG}` = '{about.id}'") if there else []
            lightning = MLFlowLogger(
                self.experiment, about.title, uri, tags={TAG: about.id, "group": about.cell}, run_id=earlier[0].info.run_id if earlier else None
            )
            lightning.experiment.update_run(lightning.run_id, "RUNNING")
        except (MlflowException, OSError) as error:
            raise FtsafetyError(f"MLflow at {uri} can't be used ({str(error).splitlines()[0]}); start its server, or give logger.tracking_uri.") from error
        return lightning

    def known(self, lightning: Any) -> dict[str, int]:
        # results have longer names, such as tuned/stand_in/train/outcome/compliance_rate
        told = {name.partition("/")[0]: name for name in lightning.experiment.get_run(lightning.run_id).data.metrics if name.count("/") == 1}
        history = lightning.experiment.get_metric_history
        return {curve: max(metric.step for metric in history(lightning.run_id, name)) for curve, name in told.items()}

    def table(self, lightning: Any, name: str, columns: Sequence[str], rows: Rows) -> None:
        lightning.experiment.log_text(lightning.run_id, as_csv(columns, rows), f"{name}.csv")

    def weights(self, lightning: Any, name: str, digest: str) -> None:
        lightning.experiment.set_tag(lightning.run_id, f"weights.{name}", digest)
