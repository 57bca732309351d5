"""What became of every cell: one small file each beside the run folders, so that a sweep can be looked at, mended and gone on with.

``RUNS/.ledger/<cell>-<seed>.json`` says of a cell, which is a content id, whether it is running, done or failed, why, and how it was asked for.
``RUNS/.ledger/sweeps/<digest>.json`` lists what one multirun asks for, so that cells that were never begun are known as planned. A cell that
could not be built has no content id; its file is named after its command. Every file is written whole and by a rename, so that many
processes and machines may work on one sweep. ``python -m ftsafety.sweep`` reads all this.

What it does not know: how a cell is run. Nothing heavy is imported here.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from ftsafety.errors import FtsafetyError, StoreError
from ftsafety.hashing import digest_of
from ftsafety.progress import say
from ftsafety.store.lease import identity, is_live
from ftsafety.store.publish import publish_json
from ftsafety.store.secrets import refuse_secrets

if TYPE_CHECKING:
    from ftsafety.cell import Cell

FOLDER, SWEEPS = ".ledger", "sweeps"
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
HERE = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
State = Literal["planned", "running", "done", "failed"]
MEMORY, DISK, LOSS, JUDGE = "out of memory", "disk full", "loss not finite", "judge"
USER, STOPPED, DIED, BUG = "user", "stopped", "died", "bug"
JUDGING = ("ftsafety.judge", "ftsafety.judge_check", "ftsafety.stages.judging")
LONGEST = 600
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class Command:
    """How a cell is asked for: what Hydra has to be told besides the overrides, the overrides, and the folder in which it was typed."""

    head: tuple[str, ...]
    overrides: tuple[str, ...]
    multirun: bool
    cwd: str

    @classmethod
    def of_job(cls) -> Command:
        """That of the job that Hydra is running."""
        hydra = HydraConfig.get()
        return cls(_head(hydra), tuple(map(str, hydra.overrides.task)), str(hydra.mode).endswith("MULTIRUN"), str(hydra.runtime.cwd))

    @classmethod
    def of_cell(cls, hydra: DictConfig, overrides: Sequence[str]) -> Command:
        """That of one cell of the multirun whose ``hydra`` node this is."""
        return cls(_head(hydra), tuple(overrides), True, str(hydra.runtime.cwd))

    @property
    def arguments(self) -> list[str]:
        """What follows ``python -m ftsafety`` to do this one cell again."""
        return [*self.head, *(["hydra.mode=RUN"] if self.multirun else []), *self.overrides]

    @property
    def key(self) -> str:
        """Names what is asked for, whoever asks for it and where."""
        return digest_of([self.head, self.overrides])[:12]

    def __str__(self) -> str:
        there = "" if Path(self.cwd) == Path.cwd() else f"cd {shlex.quote(self.cwd)} && "
        return f"{there}python -m ftsafety {shlex.join(self.arguments)}".rstrip()


def _head(hydra: Any) -> tuple[str, ...]:
    """``--config-dir`` and ``--config-name`` where they are not the usual ones, the folder as seen from where the command was typed."""
    found = []
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            path = os.path.relpath(source.path, hydra.runtime.cwd)
            found.append(f"--config-dir={source.path if path.startswith('..') else path}")
    if hydra.job.config_name not in (None, "config"):
        found.append(f"--config-name={hydra.job.config_name}")
    return tuple(found)


@dataclass(frozen=True)
class Line:
    """What is known of one cell. ``code`` is its exit code when it is over: 0 done, 1 failed, 2 or 3 as the gate said."""

    state: State
    command: Command
    cell: str | None = None
    seed: int | None = None
    folder: str | None = None
    kind: str = ""
    reason: str = ""
    code: int | None = None
    host: str = ""
    started: str = ""
    seconds: float | None = None


class Note:
    """One cell's entry, from its beginning to its end. A dry run leaves none, nor does a single command that can't even be built."""

    def __init__(self, runs: Path, command: Command, dry: bool = False) -> None:
        self.folder, self.command, self.dry = runs / FOLDER, command, dry
        self.entry: dict[str, Any] = {"cell": None, "seed": None, "folder": None}
        self.since = time.monotonic()

    def begin(self, cell: Cell) -> None:
        """It is built, and running from now on."""
        self.entry |= {"cell": cell.id, "seed": cell.seed, "folder": cell.folder_name}
        self._unbuilt.unlink(missing_ok=True)
        self._write("running", **identity())

    def done(self, code: int) -> None:
        """It has its record; ``code`` is the gate's."""
        self._write("done", code=code)

    def failed(self, error: BaseException) -> None:
        """It has none, and this is why. A ledger that can't be written (a full disk fails many a cell) is only told of, so that the next cell has its try."""
        if not self.dry and (self.entry["cell"] or self.command.multirun):
            try:
                self._write("failed", kind=kind_of(error), reason=reason_of(error), code=1)
            except OSError as problem:
                say(f"the ledger in {self.folder} could not be written: {problem}")

    @property
    def _unbuilt(self) -> Path:
        return self.folder / f"unbuilt-{self.command.key}.json"

    def _write(self, state: State, **more: Any) -> None:
        file = self.folder / f"{self.entry['cell']}-{self.entry['seed']}.json" if self.entry["cell"] else self._unbuilt
        asked = [asdict(self.command), *[one for one in (_read(file) or {}).get("asked", []) if _command(one).key != self.command.key]]
        times = {"started": _now(self.since), "seconds": round(time.monotonic() - self.since, 1)}
        entry = {**self.entry, "state": state, "kind": "", "reason": "", "code": None, **times, **more, "asked": asked}
        try:
            refuse_secrets(entry["reason"])
        except FtsafetyError:
            entry["reason"] = "(the message holds a secret and was not kept)"
        publish_json(file, entry)


def kind_of(error: BaseException) -> str:
    """What kind of failure it was, by what was raised and where."""
    text = str(error).lower()
    if isinstance(error, KeyboardInterrupt):
        return STOPPED
    if out_of_memory(error):
        return MEMORY
    if disk_full(error):
        return DISK
    if not isinstance(error, FtsafetyError):
        return BUG
    if text.startswith(("the loss is nan", "the loss is inf", "the loss is -inf", "the gradient is not finite")):
        return LOSS
    frames = [(str(frame.f_globals.get("__name__", "")), frame.f_code.co_name) for frame, _ in traceback.walk_tb(error.__traceback__)]
    judging = any(module == name or module.startswith(f"{name}.") for module, _ in frames for name in JUDGING)
    return JUDGE if judging or ("ftsafety.record", "check_unscored") in frames else USER


def out_of_memory(error: BaseException) -> bool:
    """Whether the machine or its accelerator had no memory left, in this process or in one that helped it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def disk_full(error: BaseException) -> bool:
    """Whether a disk, or this user's share of it, had no room left; libraries that write weights say so in words."""
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "no space left on device" in str(error).lower()


def reason_of(error: BaseException) -> str:
    """The sentence of a mistake; of a bug what was raised and where."""
    text = " ".join(str(error).split())[:LONGEST]
    if isinstance(error, FtsafetyError):
        return text
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted; what it had finished is kept"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    return f"{type(error).__name__}: {text}{where}"


class Sweeps(Callback):
    """Hydra tells this of a multirun before its first cell; what it asks for is written down then."""

    file: ClassVar[Path | None] = None
    """What this process wrote."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Write down every cell that the multirun will ask for; another sweeper does it as it finds them. A dry run leaves nothing and needs no launcher."""
        Sweeps.file = None
        hydra = config.hydra
        if config.dry_run:
            with flag_override(config, ["struct", "readonly"], [False, False]):
                hydra.launcher = {"_target_": HERE}
        elif hydra.sweeper["_target_"] == BASIC:
            params = OmegaConf.to_container(hydra.sweeper.params or OmegaConf.create({}), resolve=True)
            assert isinstance(params, dict)
            Sweeps.write(config, expanded([*(f"{name!s}={value}" for name, value in params.items()), *hydra.overrides.task]))

    @classmethod
    def write(cls, config: DictConfig, jobs: list[list[str]], name: Any = None) -> None:
        """Write down the cells of a multirun, each as its overrides; ``name`` is what stays the same where they become more."""
        head = list(_head(config.hydra))
        cls.file = Path(config.paths.runs) / FOLDER / SWEEPS / f"{digest_of([head, jobs if name is None else name])[:12]}.json"
        publish_json(cls.file, {"head": head, "cwd": str(config.hydra.runtime.cwd), "jobs": jobs})

    @classmethod
    def withdraw(cls) -> None:
        """Take back what was written: the multirun can't be composed."""
        if cls.file:
            cls.file.unlink(missing_ok=True)

    @classmethod
    def lines(cls) -> list[Line | None]:
        """What is known of every cell that was written down, in whatever process a launcher ran it; None of one that was not begun."""
        if cls.file is None:
            return []
        found = known(cls.file.parent.parent.parent)
        return [found.get(command.key) for command in planned(cls.file)]

    @classmethod
    def codes(cls) -> list[int]:
        """The exit code of each of them; 1 for one that is not over."""
        return [1 if line is None or line.code is None else line.code for line in cls.lines()]


def expanded(overrides: Sequence[str]) -> list[list[str]]:
    """The override sets of a sweep, as Hydra's own sweeper makes them; ``glob(*)`` is for the options of the configuration that Hydra holds."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    held = GlobalHydra.instance()
    parser = OverridesParser.create(config_loader=held.config_loader() if held.is_initialized() else None)
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(list(overrides)), max_batch_size=None)
    return [list(job) for job in jobs]


def known(runs: Path) -> dict[str, Line]:
    """What the ledger knows, by the key of every command that asked for it."""
    return {command.key: line for line, commands in _entries(runs / FOLDER) for command in commands}


def planned(file: Path) -> list[Command]:
    """What one multirun asks for."""
    plan = _read(file) or {}
    return [Command(tuple(plan["head"]), tuple(job), True, plan["cwd"]) for job in plan.get("jobs", [])]


def overview(runs: Path) -> list[Line]:
    """Every cell that was ever asked for in a folder of runs: by state (failed, running, planned, done), then in the order of their names.

    Raises:
        StoreError: there is no ledger.
    """
    folder = runs / FOLDER
    entries = list(_entries(folder))
    asked = {command.key for _, commands in entries for command in commands}
    lines = [line for line, _ in entries]
    waiting = {command.key: command for file in sorted((folder / SWEEPS).glob("*.json")) for command in planned(file)}
    lines += [Line("planned", command) for key, command in waiting.items() if key not in asked]
    if not lines:
        raise StoreError(f"there is no ledger in {runs}; give the folder that python -m ftsafety wrote its runs to, such as runs.")
    order: tuple[State, ...] = ("failed", "running", "planned", "done")
    return sorted(lines, key=lambda line: (order.index(line.state), line.folder or "", line.command.overrides))


def _entries(folder: Path) -> Iterator[tuple[Line, list[Command]]]:
    for file in sorted(folder.glob("[!.]*.json")):
        entry = _read(file)
        if entry is None:
            continue
        commands = [_command(one) for one in entry["asked"]]
        names = ("state", "cell", "seed", "folder", "kind", "reason", "code", "started", "seconds")
        line = Line(**{name: entry[name] for name in names}, command=commands[0], host=entry.get("host", ""))
        yield _as_it_is(line, file), commands


def _as_it_is(line: Line, file: Path) -> Line:
    """A line by what is there: a process may have died without a word, and a run folder may have been deleted."""
    if line.state == "running" and not is_live(file):
        why = "its process ended without a word: killed, perhaps for memory, or the machine went down"
        return Line(**{**vars(line), "state": "failed", "kind": DIED, "reason": why, "code": 1, "seconds": None})
    if line.state == "done" and not (file.parent.parent / str(line.folder) / "DONE").exists():
        return Line(**{**vars(line), "state": "planned", "reason": "its run folder is gone", "code": None, "seconds": None})
    return line


def _command(data: dict[str, Any]) -> Command:
    return Command(tuple(data["head"]), tuple(data["overrides"]), bool(data["multirun"]), data["cwd"])


def _read(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{file} is damaged ({error}); delete it, its cell counts as not begun then.") from error
    return data if isinstance(data, dict) else None


def _now(since: float) -> str:
    """When something began that began at ``since`` of the monotonic clock: UTC, to the second."""
    return datetime.fromtimestamp(time.time() - (time.monotonic() - since), UTC).isoformat(timespec="seconds")
