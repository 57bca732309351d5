"""Cells as tasks of a Ray cluster: one on this machine that lives as long as the multirun, or one that is running already.

hydra-ray-launcher has the same idea; its pins (cloudpickle below 3, ray's dashboard, boto3) can't be met beside this project's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from ftsafety.errors import ConfigError

OBJECT_STORE_BYTES = 80 * 2**20
"""About the least that Ray takes; all that passes through it are configurations."""

STARTS = 3
"""How often a cluster is started that is not up after half a minute, which is all that Ray waits for and short on a busy machine."""


class RayLauncher(Launcher):
    """Runs each cell as a Ray task; a task whose worker is killed fails alone.

    Args:
        address: of a running cluster, ``auto`` for the one of this machine; null starts one and stops it at the end.
        num_cpus: cores of a cell, which are its threads; a cluster runs as many cells at once as it has cores for.
        num_gpus: accelerators of a cell; Ray hides all of them from a cell with 0.
    """

    def __init__(self, address: str | None, num_cpus: float, num_gpus: float) -> None:
        self.address, self.num_cpus, self.num_gpus = address, num_cpus, num_gpus
        self.shared: tuple[Any, ...] = ()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before ``launch``."""
        self.shared = (hydra_context, config, task_function)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells; those whose worker died are told of when the others are done.

        Raises:
            ConfigError: Ray is not installed.
            ray.exceptions.RayError: a worker died, or the cluster can't be reached.
        """
        try:
            import ray
        except ImportError as error:
            raise ConfigError("hydra/launcher=ray needs ray, which is not installed; type pip install 'ftsafety[ray]'.") from error
        self.connect(ray)
        try:
            # a task is not tried again: a worker that was killed for memory would be killed again
            do: Any = ray.remote(max_retries=0, num_cpus=self.num_cpus, num_gpus=self.num_gpus)(_do)
            shared = ray.put((*self.shared, Singleton.get_state()))
            tasks = [do.remote(shared, list(job), number) for number, job in enumerate(job_overrides, initial_job_idx)]
            ray.wait(tasks, num_returns=len(tasks))
            return list(ray.get(tasks))
        finally:
            ray.shutdown()

    def connect(self, ray: Any) -> None:
        """Reach the cluster, or start one."""
        # a cluster that runs already has its own settings
        own: dict[str, Any] = {} if self.address else {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        for left in reversed(range(STARTS)):
            try:
                ray.init(address=self.address or "local", logging_level=logging.ERROR, **own)
                return
            except Exception as error:
                # Ray has no class of its own for it
                if not left or "timed out during startup" not in str(error):
                    raise
                ray.shutdown()


def _do(shared: tuple[Any, ...], overrides: list[str], number: int) -> JobReturn:
    """One cell, in a worker."""
    hydra_context, config, task_function, state = shared
    setup_globals()
    Singleton.set_state(state)
    # relative paths are those of where the command was typed
    if Path(config.hydra.runtime.cwd).is_dir():
        os.chdir(config.hydra.runtime.cwd)
    cell = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(cell):
        cell.hydra.job.id, cell.hydra.job.num = f"{cell.hydra.job.name}_{number}", number
    HydraConfig.instance().set_config(cell)
    return run_job(hydra_context=hydra_context, task_function=task_function, config=cell, job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir")
