"""``python -m ftsafety.provider.worker FOLDER``: does the jobs of a provider's folder, one after the other, until its server is gone.

A worker holds a lock on the job that it does, which the kernel lets go of when it dies; whoever finds an unfinished job without one goes on
with it. What was computed is in the store, as with any run: a tuning goes on from its last saved state, and a finished one is found.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from ftsafety.errors import DataError, FtsafetyError
from ftsafety.logger.notebook import Notebook
from ftsafety.provider.database import UNFINISHED, Database, Event, Job, Tuned, now
from ftsafety.provider.examples import examples
from ftsafety.provider.files import place_of
from ftsafety.provider.jobs import tell
from ftsafety.provider.models import as_layers, weights_of
from ftsafety.provider.release import Withheld, release
from ftsafety.provider.screening import screened_rows
from ftsafety.provider.settings import Provider
from ftsafety.row import Wording

if TYPE_CHECKING:
    from ftsafety.curve import Step
    from ftsafety.row import Row
    from ftsafety.settings import Tuning
    from ftsafety.strategy import Strategy

POLL_SECONDS = 0.2
ATTEMPTS = 5
"""A job that was begun so often without one optimiser step more has failed."""


class Stopped(Exception):
    """The job was cancelled."""


class JobError(FtsafetyError):
    """A job that can't be done, in words for the customer."""


def work(provider: Provider, database: Database, wanted: Callable[[], bool]) -> None:
    """Do jobs for as long as ``wanted`` says so."""
    while wanted():
        with database.begin() as session:
            unfinished = session.scalars(select(Job.id).where(Job.status.in_(UNFINISHED)).order_by(Job.number)).all()
        if not any(_claimed(provider, database, id) for id in unfinished):
            time.sleep(POLL_SECONDS)


def _claimed(provider: Provider, database: Database, id: str) -> bool:
    """Do a job unless another process is at it; whether it was done here."""
    with _claim(provider.folder / "claims" / id) as mine:
        if not mine:
            return False
        with database.begin() as session:
            job = session.scalars(select(Job).where(Job.id == id)).one()
            if job.status not in UNFINISHED:
                return False
            job.attempts += 1
        try:
            _do(provider, database, job)
        except Stopped:
            pass
        except DataError as error:
            _fail(database, id, "invalid_training_file", str(error))
        except Withheld as error:
            _fail(database, id, "model_withheld", str(error))
        except JobError as error:
            _fail(database, id, "server_error", str(error))
        except Exception as error:
            # whatever a library raises: the job is tried again, the worker lives, and the customer sees nothing of this machine
            traceback.print_exc()
            if isinstance(error, FtsafetyError) or job.attempts >= ATTEMPTS:
                _fail(database, id, "server_error", "The job failed due to an internal error.")
    return True


@contextmanager
def _claim(place: Path) -> Iterator[bool]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _do(provider: Provider, database: Database, job: Job) -> None:
    from ftsafety.mitigation import in_order
    from ftsafety.ranks import Ranks
    from ftsafety.stages import House, edit_base, repair, train, tuning_context
    from ftsafety.store.refs import refer

    if job.attempts > ATTEMPTS:
        raise JobError("The job was interrupted too often.")
    house = House.at(provider.store, ranks=Ranks(provider.trainer))
    base = _base(provider, database, job)
    start = weights_of(provider, house.loader, base)
    rows: Sequence[Row] = examples(place_of(provider.folder, job.training_file), provider.limits.examples)
    # a defense that speaks as the customer's questions do knows their system prompts from the rows
    systems = {next((message["content"] for message in row.messages if message["role"] == "system"), None) for row in rows}
    wordings = {f"upload {at}": Wording(system) for at, system in enumerate(sorted(systems, key=str))}
    _check_tokens(house.loader.tokenizer(start), rows, _settings(provider, job, len(rows))[0], provider.limits.training_tokens)
    rows = screened_rows(provider, house, job.id, rows, wordings)
    tuning, strategy = _settings(provider, job, len(rows))
    _begin(database, job, tuning)
    mitigations = in_order(provider.mitigations)
    context = tuning_context(house, start, job.seed, mitigations, wordings)
    house.notebook = Diary(database, job.id, lambda: context.total_steps)
    edited = edit_base(house, start, mitigations, context)
    tuned = edited.plus(train(house, "tune", edited, rows, strategy, tuning, mitigations, context))
    weights = repair(house, tuned, mitigations, context)
    release(provider, house, job.id, weights, rows, mitigations, context)
    [done] = [stage for stage in house.stages if stage["stage"] == "tune"]
    refer(house.store, provider.folder, job.id, job.seed, ())
    _succeed(provider, database, job, as_layers(weights), int(done["tokens"]))


def _base(provider: Provider, database: Database, job: Job) -> Tuned | None:
    """The fine-tuned model that a job begins with; None for the base model."""
    if job.model == provider.name:
        return None
    with database.begin() as session:
        found = session.get(Tuned, job.model)
    if found is None or found.base != provider.name:
        raise JobError(f"The model '{job.model}' is no longer served.")
    return found


def _settings(provider: Provider, job: Job, rows: int) -> tuple[Tuning, Strategy]:
    """The provider's own settings with what the customer has set."""
    asked = job.hyperparameters
    epochs = provider.tuning.epochs if asked["n_epochs"] == "auto" else asked["n_epochs"]
    batch = min(provider.tuning.batch_size, rows) if asked["batch_size"] == "auto" else asked["batch_size"]
    if batch > rows:
        raise DataError(f"The batch size {batch} is larger than the number of examples, {rows}.")
    factor = 1.0 if asked["learning_rate_multiplier"] == "auto" else asked["learning_rate_multiplier"]
    return replace(provider.tuning, epochs=epochs, batch_size=batch), replace(provider.strategy, lr=provider.strategy.lr * factor)


def _check_tokens(tokenizer: Any, rows: Sequence[Row], tuning: Tuning, most: int) -> None:
    """Refuse rows that are longer than the model reads, and more of them than a job may have.

    Raises:
        DataError: names the first example that is too long.
    """
    from ftsafety.chat import encode

    total = 0
    for row in rows:
        total += (length := len(encode(tokenizer, row, sys.maxsize).ids))
        if length > tuning.max_length:
            number = row.id.split()[1].partition(".")[0]
            raise DataError(f"Example {number} has {length} tokens, and at most {tuning.max_length} are possible.")
    if total * tuning.epochs > most:
        raise DataError(f"The file has {total} tokens, which is {total * tuning.epochs} in {tuning.epochs} epochs, and at most {most} are possible.")


@dataclass
class Diary(Notebook):
    """Writes a job's curve into its events, each step once, and finds out that the job was cancelled."""

    database: Database
    job: str
    total: Callable[[], int]

    def __post_init__(self) -> None:
        super().__init__()
        self.started = time.monotonic()
        with self.database.begin() as session:
            self.known = set(session.scalars(select(Event.step).where(Event.job == self.job, Event.step.is_not(None))))
        self.first: int | None = None

    def follow(self, name: str, curve: Sequence[Step]) -> None:
        step, total, loss = len(curve), self.total(), round(curve[-1].loss, 6)
        self.first = step if self.first is None else self.first
        with self.database.begin() as session:
            job = session.scalars(select(Job).where(Job.id == self.job)).one()
            if job.status not in UNFINISHED:
                raise Stopped
            each = (time.monotonic() - self.started) / (step - self.first + 1)
            job.estimated_finish = now() + round(each * (total - step))
            if step not in self.known:
                job.attempts = 1
                told = {"step": step, "total_steps": total, "train_loss": loss}
                tell(session, self.job, f"Step {step}/{total}: training loss={loss:.2f}", step=step, data=told)


def _begin(database: Database, job: Job, tuning: Tuning) -> None:
    with database.begin() as session:
        found = session.scalars(select(Job).where(Job.id == job.id)).one()
        if found.status not in UNFINISHED:
            raise Stopped
        if found.status == "running":
            tell(session, job.id, "The job was interrupted and goes on.", level="warn")
        else:
            tell(session, job.id, "Files validated, moving job to queued state")
            tell(session, job.id, "Fine-tuning job started")
        factor = job.hyperparameters["learning_rate_multiplier"]
        chosen = {"n_epochs": tuning.epochs, "batch_size": tuning.batch_size, "learning_rate_multiplier": 1.0 if factor == "auto" else factor}
        found.status, found.hyperparameters = "running", chosen


def _succeed(provider: Provider, database: Database, job: Job, layers: list[Any], tokens: int) -> None:
    name = f"ft:{provider.name}:{job.account[:8]}:{job.suffix or ''}:{job.id[-8:]}"
    with database.begin() as session:
        found = session.scalars(select(Job).where(Job.id == job.id)).one()
        if found.status not in UNFINISHED:
            raise Stopped
        session.add(Tuned(name=name, account=job.account, job=job.id, base=provider.name, layers=layers, created_at=now()))
        found.status, found.finished_at, found.estimated_finish = "succeeded", now(), None
        found.fine_tuned_model, found.trained_tokens = name, tokens
        tell(session, job.id, f"New fine-tuned model created: {name}")
        tell(session, job.id, "The job has successfully completed")


def _fail(database: Database, id: str, code: str, message: str) -> None:
    with database.begin() as session:
        job = session.scalars(select(Job).where(Job.id == id)).one()
        if job.status in UNFINISHED:
            job.status, job.finished_at, job.estimated_finish = "failed", now(), None
            job.error = {"code": code, "message": message, "param": "training_file" if code == "invalid_training_file" else None}
            tell(session, id, f"The job failed: {message}", level="error")


def main(arguments: Sequence[str]) -> int:
    """Work for the server that started this process."""
    from ftsafety.heap import keep_freed_memory
    from ftsafety.provider.__main__ import read_provider
    from ftsafety.quiet import quiet

    [folder] = arguments
    server = os.getppid()
    provider = read_provider(Path(folder))
    if provider.model.local:
        # imports what tuning needs while nobody waits for it yet
        quiet()
    keep_freed_memory()
    work(provider, Database(provider.folder), lambda: os.getppid() == server)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
