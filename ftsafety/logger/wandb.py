"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ftsafety.errors import FtsafetyError
from ftsafety.logger.base import About, Logger, Rows

SCHEME = "ftsafety"
"""References to weights begin with it; nothing is behind them but a digest, by which a store has them."""


@dataclass
class Wandb(Logger):
    """Weights & Biases: one group a cell, one run a seed, which goes on where it was. The key is read from the environment or wandb's own login."""

    source = "pytorch-lightning's WandbLogger; docs.wandb.ai"
    module = "wandb"
    extra = "wandb"

    project: str
    """W&B's project."""
    entity: str | None
    """Whose project it is; null is the default of the key."""
    mode: Literal["online", "offline", "disabled"]
    """offline writes files below the run's folder that ``wandb sync`` sends later; disabled tells nobody."""

    def start(self, about: About) -> Any:
        import wandb
        from pytorch_lightning.loggers import WandbLogger

        # what is printed may quote answers, and what was typed may hold a path: neither is sent, nor any code
        told = wandb.Settings(console="off", disable_code=True, disable_git=True, save_code=False, x_disable_meta=True, silent=True, login_timeout=30)
        about.folder.mkdir(parents=True, exist_ok=True)
        try:
            run = wandb.init(
                project=self.project, entity=self.entity, mode=self.mode, id=about.id, name=about.title, group=about.cell, dir=about.folder,
                # a control is told of while the run that it controls is open
                resume="allow", reinit="create_new", settings=told,
            )  # fmt: skip
        except wandb.errors.Error as error:
            raise FtsafetyError(f"W&B can't be used ({str(error).splitlines()[0]}); type wandb login once, or logger.mode=offline.") from error
        return WandbLogger(experiment=run, project=self.project)

    def known(self, lightning: Any) -> dict[str, int]:
        summary = dict(lightning.experiment.summary)
        return {name.removesuffix("/step"): int(value) for name, value in summary.items() if name.endswith("/step")}

    def config(self, lightning: Any, config: Mapping[str, Any]) -> None:
        lightning.experiment.config.update(dict(config), allow_val_change=True)

    def step(self, lightning: Any, curve: str, step: int, values: Mapping[str, float]) -> None:
        if step <= 1:
            lightning.experiment.define_metric(f"{curve}/*", step_metric=f"{curve}/step")
        lightning.log_metrics({f"{curve}/step": step, **{f"{curve}/{name}": value for name, value in values.items()}})

    def numbers(self, lightning: Any, numbers: Mapping[str, float], last: int) -> None:
        lightning.experiment.summary.update(dict(numbers))

    def table(self, lightning: Any, name: str, columns: Sequence[str], rows: Rows) -> None:
        import wandb

        lightning.log_metrics({name: wandb.Table(list(columns), [list(row) for row in rows], allow_mixed_types=True)})

    def weights(self, lightning: Any, name: str, digest: str) -> None:
        import wandb

        artifact = wandb.Artifact(f"{name}-{digest[:12]}", "weights", metadata={"digest": digest})
        artifact.add_reference(f"{SCHEME}://weights/{digest}", name=name, checksum=False)
        lightning.experiment.log_artifact(artifact, aliases=[name])

    def end(self, lightning: Any, whole: bool) -> None:
        lightning.experiment.finish(exit_code=0 if whole else 1)
