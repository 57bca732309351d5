"""The worst that an attacker with a budget can do: Optuna chooses settings by development questions, and sealed ones say what the worst is worth.

A search is a multirun whose cells are asked for one batch after the other (``hydra/sweeper=worst_case``), by whatever launcher. What it has
learned lies in ``RUNS/worst_case-<id>.json`` after each batch. The same command reads it and goes on; each draw has a seed of
its own, so that a search that was stopped asks for the same cells as one that was not. hydra-optuna-sweeper needs Optuna below 3.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.hashing import digest_of
from ftsafety.ledger import FOLDER, LOSS, Command, Line, Sweeps, known
from ftsafety.progress import say
from ftsafety.record import read_data
from ftsafety.store.lease import lease
from ftsafety.store.publish import publish_json
from ftsafety.sweeper.aim import Aim, Bound, Outcome, outcome, typed
from ftsafety.sweeper.space import Space

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

Told = dict[str, dict[str, Any]]
"""What is known of each setting, by its number."""
MEASURED, BROKE, NOT_MEASURED, NOT_FINITE = "measured", "broke the bound", "not measured", "loss not finite"
STRIDE = 1_000_003
"""Keeps the seeds of the draws of one search apart from those of another."""


class WorstCase(Sweeper):
    """Searches the settings under which an attack costs the most safety.

    Args:
        trials: the attacker's budget, in settings that are tried.
        together: settings that are chosen before one of them is known, for a launcher that runs several cells at once.
        startup: settings that are drawn at random before the sampler (TPE) learns.
        seed: of the draws.
        objective: the number of a record that the attacker raises.
        bound: the number of a record whose rise is limited, since a model that is broken is of no use to the attacker; null for none.
        sealed: overrides under which the worst setting is measured at the end, on questions that chose nothing.
        params: overrides as in any sweep; those with several values, or an interval of values, are searched.
    """

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(
        self, trials: int, together: int, startup: int, seed: int, objective: DictConfig, bound: DictConfig | None, sealed: Sequence[str],
        params: DictConfig | None,
    ) -> None:  # fmt: skip
        self.trials, self.together, self.startup, self.seed = trials, together, startup, seed
        self.nodes, self.sealed = (objective, bound), [str(override) for override in sealed]
        self.params = [f"{key!s}={value}" for key, value in (params or {}).items()]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before ``sweep``."""
        self.hydra_context, self.config, self.runs = hydra_context, config, Path(config.paths.runs)
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context=hydra_context, task_function=task_function, config=config)
        self.asked: list[list[str]] = []
        """Cells that this process has to see done, as far as they are known."""
        self.launched = 0

    def sweep(self, arguments: list[str]) -> None:
        """Search, and measure what was found on sealed questions.

        Raises:
            ConfigError: Optuna is not installed, or there is nothing to search, or the records know no such number.
            FtsafetyError: no setting kept the bound, or the sealed cell failed.
        """
        try:
            import optuna
        except ImportError as error:
            raise ConfigError("hydra/sweeper=worst_case needs Optuna, which is not installed; type pip install 'ftsafety[optuna]'.") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        objective, bound = self.nodes
        self.objective = typed(objective, Aim, "hydra.sweeper.objective")
        self.bound = typed(bound, Bound, "hydra.sweeper.bound") if bound is not None else None
        self.space = Space.of([*self.params, *arguments], self.hydra_context.config_loader)
        self._check()
        if self.config.dry_run:
            study = optuna.create_study(direction="maximize")
            # nothing is learned, so settings drawn at random stand for those that will be chosen
            self._launch([self.space.job(self._draw(study, number, {}).params) for number in range(self.trials)])
            return
        name = f"worst_case-{self._id()}"
        file = self.runs / f"{name}.json"
        with lease(self.runs / FOLDER / f".{name}.lease", lambda: False, lambda who: say(f"{who} does this search; waiting for it")):
            self._search(optuna.create_study(direction="maximize"), file)

    def _check(self) -> None:
        for name in ("trials", "together", "startup"):
            if getattr(self, name) < 1:
                raise ConfigError(f"hydra.sweeper.{name}={getattr(self, name)} is not possible; give at least 1.")
        if not self.space.drawn:
            raise ConfigError("there is nothing to search; give a setting several values, such as tuning.epochs=5,10 or 'strategy.lr=interval(1e-4,1e-2)'.")

    def _id(self) -> str:
        """Names the search by what it asks: the base cell's content, what is drawn and how, and what is looked at."""
        from ftsafety.cell import build_cell

        base = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        drawn = {key: str(distribution) for key, distribution in self.space.drawn.items()}
        looked_at = [vars(aim) for aim in (self.objective, self.bound) if aim]
        return digest_of([build_cell(base).recipe(), self.space.fixed, drawn, self.startup, self.seed, looked_at])[:12]

    def _search(self, study: Study, file: Path) -> None:
        told: Told = json.loads(file.read_text(encoding="utf-8"))["trials"] if file.exists() else {}
        for first in range(0, self.trials, self.together):
            batch = [self._draw(study, number, told) for number in range(first, min(first + self.together, self.trials))]
            jobs = {str(trial.number): self.space.job(trial.params) for trial in batch}
            self._launch([job for number, job in jobs.items() if number not in told])
            for trial in batch:
                number = str(trial.number)
                if number not in told and (one := self._learned(trial, jobs[number])):
                    told[number] = one
                    if one["state"] == NOT_FINITE:
                        # that is an answer to this question and no failure
                        self.asked.remove(one["job"])
                self._tell(study, trial, told.get(number))
            publish_json(file, {**self._question(), "trials": told, "found": None})
        tried = {number: one for number, one in told.items() if int(number) < self.trials}
        kept = [one for one in tried.values() if one["state"] == MEASURED]
        if not kept:
            raise FtsafetyError(f"none of {self.trials} settings {'kept the bound' if self.bound else 'was measured'}; {file} says what became of each.")
        # the first of several that are equal
        found = max(kept, key=lambda one: one["value"])
        job = [*self.space.job(found["params"]), *self.sealed]
        self._launch([job])
        line = self._line(job)
        if line is None or line.state != "done":
            raise FtsafetyError(f"the worst setting, {' '.join(job)}, was not measured on sealed questions; the same command tries it again.")
        sealed = {"job": job, "folder": line.folder, **vars(self._outcome(line))}
        publish_json(file, {**self._question(), "trials": told, "found": {**found, "sealed": sealed}})
        self._show(tried, found, sealed, file)

    def _draw(self, study: Study, number: int, told: Told) -> Trial:
        """The next setting: chosen, or taken from what an earlier process was told."""
        from optuna.samplers import TPESampler

        study.sampler = TPESampler(n_startup_trials=self.startup, seed=(self.seed * STRIDE + number) % 2**32)
        if one := told.get(str(number)):
            study.enqueue_trial(one["params"])
        return study.ask(dict(self.space.drawn))

    def _launch(self, jobs: list[list[str]]) -> None:
        self.asked += jobs
        if not self.config.dry_run:
            Sweeps.write(self.config, self.asked, [self.space.fixed, sorted(self.space.drawn)])
        if jobs:
            self.validate_batch_is_legal(jobs)
            self.launcher.launch(jobs, initial_job_idx=self.launched)
            self.launched += len(jobs)

    def _line(self, job: list[str]) -> Line | None:
        return known(self.runs).get(Command.of_cell(self.config.hydra, job).key)

    def _outcome(self, line: Line) -> Outcome:
        return outcome(read_data(self.runs / str(line.folder)), self.objective, self.bound)

    def _learned(self, trial: Trial, job: list[str]) -> dict[str, Any] | None:
        """What a setting came to; None where its cell failed of something that another try may mend."""
        line = self._line(job)
        entry = {"params": trial.params, "job": job, "folder": line.folder if line else None}
        if line is not None and line.kind == LOSS:
            return {**entry, "state": NOT_FINITE, "value": None, "rise": None}
        if line is None or line.state != "done":
            return None
        found = self._outcome(line)
        if found.value is None or (self.bound and found.rise is None):
            state = NOT_MEASURED
        else:
            state = BROKE if self.bound and found.rise is not None and found.rise > self.bound.most else MEASURED
        return {**entry, "state": state, "value": found.value, "rise": found.rise}

    def _tell(self, study: Study, trial: Trial, one: dict[str, Any] | None) -> None:
        """Tell the sampler: a broken bound is a constraint, a model that did not train the worst there is, and a failure nothing at all."""
        from optuna.trial import TrialState

        if one is None:
            study.tell(trial, state=TrialState.FAIL)
        elif one["state"] in (NOT_FINITE, NOT_MEASURED):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            if self.bound:
                trial.set_constraint("bound", one["rise"] - self.bound.most)
            study.tell(trial, one["value"])

    def _question(self) -> dict[str, Any]:
        return {"objective": vars(self.objective), "bound": vars(self.bound) if self.bound else None, "budget": self.trials, "sealed": self.sealed}

    def _show(self, tried: Told, found: dict[str, Any], sealed: dict[str, Any], file: Path) -> None:
        states = [one["state"] for one in tried.values()]
        counts = {**{state: states.count(state) for state in (MEASURED, BROKE, NOT_MEASURED, NOT_FINITE)}, "failed": self.trials - len(tried)}
        lines = [f"The worst of {self.trials} settings ({', '.join(f'{count} {state}' for state, count in counts.items() if count)}): {' '.join(found['job'])}"]
        for name, one in (("development", found), ("sealed", sealed)):
            value, rise = (f"{one[key]:.3f}" if one[key] is not None else "not measured" for key in ("value", "rise"))
            change = f", {self.bound.metric} risen by {rise} (at most {self.bound.most:g})" if self.bound else ""
            lines.append(f"  on {name} questions: {self.objective.metric} {value}{change}")
        for line in [*lines, f"All settings: {file}"]:
            Console().print(Text(line), soft_wrap=True)
