"""The command line: compose with Hydra, build, run, print. A user's mistake is one sentence and exit code 1.

Exit codes: 0 done (or gate passed), 1 a mistake, 2 gate failed, 3 gate has not enough evidence.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.text import Text

from ftsafety.errors import FtsafetyError
from ftsafety.settings import Root

if TYPE_CHECKING:
    from ftsafety.plan import Plan

errors = Console(stderr=True)


def main() -> int:
    """Run the command line; returns the exit code."""
    from ftsafety.plugins import register

    os.environ["HYDRA_FULL_ERROR"] = "1"
    ConfigStore.instance().store(name="root_schema", node=Root)
    codes: list[int] = []
    plans: list[Plan] = []

    @hydra.main(version_base="1.3", config_path="pkg://ftsafety.conf", config_name="config")
    def task(config: DictConfig) -> None:
        # a cell never raises a user's mistake: one failed cell of a sweep must not stop the others
        try:
            codes.append(_cell(config, plans))
        except FtsafetyError as error:
            _sentence(str(error))
            codes.append(1)

    try:
        register()
        task()
    except (HydraException, OmegaConfBaseException) as error:
        from ftsafety.explain import explain

        _sentence(explain(error, sys.argv[1:]))
        return 1
    except FtsafetyError as error:
        _sentence(str(error))
        return 1
    except ValueError as error:
        if not _from_hydra(error):
            raise
        _sentence(f"the configuration can't be composed: {error} A group such as model takes a name (python -m ftsafety.list shows them).")
        return 1
    except KeyboardInterrupt:
        _sentence("Stopped. What was finished is kept; the same command goes on from there.")
        return 130
    if plans:
        from ftsafety.plan import show

        show(plans)
    return _worst(codes)


def _cell(config: DictConfig, plans: list[Plan]) -> int:
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
    return outcome.code


def _sentence(text: str) -> None:
    errors.print(Text(text, style="red"), soft_wrap=True)


def _from_hydra(error: BaseException) -> bool:
    """Whether Hydra itself raised it, for an override that it has no better error for."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith("hydra.")


def _worst(codes: list[int]) -> int:
    """A mistake outweighs a failed gate, which outweighs missing evidence."""
    return next((code for code in (1, 2, 3) if code in codes), 0)
