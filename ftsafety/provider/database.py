"""What a provider remembers, in SQLite: files, jobs, their events, and the models that came of them.

Files' bytes and keys are not in it: bytes lie beside it under the file's id, and of a key only a digest is known.
"""

from __future__ import annotations

import secrets
import string
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import JSON, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

LETTERS = string.ascii_letters + string.digits
UNFINISHED = ("validating_files", "queued", "running")
FINISHED = ("succeeded", "failed", "cancelled")


class Table(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[Any]: JSON}


class File(Table):
    """An uploaded file."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(index=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[int]


class Job(Table):
    """A fine-tuning job; ``seed`` and ``hyperparameters`` are what it is or will be run with, ``attempts`` how often it was begun in vain."""

    __tablename__ = "jobs"
    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    account: Mapped[str] = mapped_column(index=True)
    model: Mapped[str]
    training_file: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[int]
    finished_at: Mapped[int | None]
    estimated_finish: Mapped[int | None]
    seed: Mapped[int]
    suffix: Mapped[str | None]
    hyperparameters: Mapped[dict[str, Any]]
    told: Mapped[dict[str, Any]] = mapped_column("metadata")
    error: Mapped[dict[str, Any] | None]
    fine_tuned_model: Mapped[str | None]
    trained_tokens: Mapped[int | None]
    attempts: Mapped[int] = mapped_column(default=0)


class Event(Table):
    """Something that happened to a job; ``step`` is set where it tells of an optimiser step, each of which is told once."""

    __tablename__ = "events"
    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str]
    job: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[int]
    level: Mapped[str]
    message: Mapped[str]
    step: Mapped[int | None]
    data: Mapped[dict[str, Any]]


class Tuned(Table):
    """A fine-tuned model: on which base it stands and where its parts lie in the store, as ``[kind, key, digest, whole]`` in order."""

    __tablename__ = "tuned"
    name: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(index=True)
    job: Mapped[str]
    base: Mapped[str]
    layers: Mapped[list[Any]]
    created_at: Mapped[int]


class Database:
    """The database in a folder; many processes may have it open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{folder / 'provider.sqlite'}", connect_args={"timeout": 30.0})

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            # readers and a writer don't wait for each other, and a killed process loses nothing that it had committed
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

        Table.metadata.create_all(engine)
        self._sessions = sessionmaker(engine, expire_on_commit=False)

    def begin(self) -> AbstractContextManager[Session]:
        """A session in a transaction: committed at the end of the body, rolled back when it raises."""
        return self._sessions.begin()


def new_id(prefix: str) -> str:
    """An id that nobody can guess, such as ``file-...``."""
    return prefix + "".join(secrets.choice(LETTERS) for _ in range(24))


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
