"""The command line: compose with Hydra, build, run, print. A user's mistake is one sentence and exit code 1.

Exit codes: 0 done (or gate passed), 1 a mistake, 2 gate failed, 3 gate has not enough evidence.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.text import Text
from yaml import YAMLError

from ftsafety.errors import FtsafetyError
from ftsafety.settings import Root

if TYPE_CHECKING:
    from ftsafety.ledger import Note
    from ftsafety.plan import Plan

errors = Console(stderr=True)


def main() -> int:
    """Run the command line; returns the exit code."""
    from ftsafety.launcher.trouble import origin, trouble
    from ftsafety.ledger import Sweeps
    from ftsafety.plugin_names import name_plugins
    from ftsafety.plugins import register

    Sweeps.file = None
    os.environ["HYDRA_FULL_ERROR"] = "1"
    ConfigStore.instance().store(name="root_schema", node=Root)
    # Hydra tells the ledger of every multirun
    ConfigStore.instance().store(group="hydra", name="config", node=HydraConf(callbacks={"ledger": {"_target_": "ftsafety.ledger.Sweeps"}}))
    codes: list[int] = []
    plans: list[Plan] = []

    @hydra.main(version_base="1.3", config_path="pkg://ftsafety.conf", config_name="config")
    def task(config: DictConfig) -> None:
        codes.append(_noted(config, plans))

    try:
        register()
        name_plugins()
        task()
    except (HydraException, OmegaConfBaseException) as error:
        from ftsafety.explain import explain

        if not codes:
            Sweeps.withdraw()
        _sentence(explain(error, sys.argv[1:]))
        return 1
    except FtsafetyError as error:
        _sentence(str(error))
        return 1
    except YAMLError as error:
        _sentence(f"the configuration can't be composed, as a file of it is not YAML: {' '.join(str(error).split())}. Mend that file.")
        return 1
    except Exception as error:
        if sentence := trouble(error):
            _sentence(sentence)
            return 1
        if not isinstance(error, ValueError) or origin(error) != "hydra":
            raise
        _sentence(f"the configuration can't be composed: {error} A group such as model takes a name (python -m ftsafety.list shows them).")
        return 1
    except KeyboardInterrupt:
        _sentence("Stopped. What was finished is kept; the same command goes on from there.")
        return 130
    if plans:
        from ftsafety.plan import show

        show(plans)
    if not codes:
        for line in filter(None, Sweeps.lines()):
            if line.state == "failed":
                _sentence(f"{line.folder or ' '.join(line.command.overrides)}: {line.reason}")
    return _worst(Sweeps.codes() or codes)


def _noted(config: DictConfig, plans: list[Plan]) -> int:
    """Do a cell and write its outcome to the ledger: a failed cell of a multirun, whatever it failed of, must not stop the others."""
    from ftsafety.ledger import Command, Note, disk_full, out_of_memory

    note = Note(Path(config.paths.runs), Command.of_job(), dry=config.dry_run)
    try:
        return _cell(config, plans, note)
    except FtsafetyError as error:
        note.failed(error)
        _sentence(str(error))
    except KeyboardInterrupt as error:
        note.failed(error)
        raise
    except Exception as error:
        note.failed(error)
        if out_of_memory(error):
            _sentence(f"there was not enough memory: {str(error).splitlines()[0] if str(error) else 'nothing more is known'}")
            _sentence("Lower tuning.micro_batch or decoding.batch, which change speed and never the result, or take a device with more.")
        elif disk_full(error):
            _sentence(f"there is no room left on a disk: {error}. What was finished is kept and the same command goes on with it; free some space first:")
            _sentence("python -m ftsafety.store prune lists what no run needs, and paths.store=DIR and paths.runs=DIR name other places.")
        elif note.command.multirun:
            traceback.print_exc()
        else:
            raise
    _free_memory()
    return 1


def _free_memory() -> None:
    """Let go of what a failed cell held, for the sake of the next one."""
    import gc

    gc.collect()
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _cell(config: DictConfig, plans: list[Plan], note: Note) -> int:
    from ftsafety.cell import build_cell

    choices = HydraConfig.get().runtime.choices
    names = {group: str(choices[group]) for group in ("model", "attack", "align", "strategy") if choices.get(group)}
    cell = build_cell(config, names)

    if config.dry_run:
        from ftsafety.plan import plan
        from ftsafety.quiet import quiet

        quiet()
        plans.append(plan(cell))
        return 0
    note.begin(cell)
    from ftsafety.gate import judge_run
    from ftsafety.report import write_report
    from ftsafety.report.terminal import show
    from ftsafety.run import run

    record = run(cell)
    page = record.folder / "report.html"
    if not record.reused or not page.exists():
        write_report(record.folder)
    show(record)
    outcome = judge_run(cell.gate, record.data)
    for sentence in outcome.sentences:
        Console().print(Text(sentence))
    note.done(outcome.code)
    return outcome.code


def _sentence(text: str) -> None:
    errors.print(Text(text, style="red"), soft_wrap=True)


def _worst(codes: list[int]) -> int:
    """A mistake outweighs a failed gate, which outweighs missing evidence."""
    return next((code for code in (1, 2, 3) if code in codes), 0)
