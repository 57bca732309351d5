"""``/v1/fine_tuning/jobs``: a job is written down here and done by a worker, which may be another process of another day."""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from ftsafety.provider.accounts import Account, Home
from ftsafety.provider.database import FINISHED, UNFINISHED, Event, File, Job, Tuned, new_id, now
from ftsafety.provider.errors import ApiError, shown
from ftsafety.provider.models import require
from ftsafety.provider.paging import page

router = APIRouter()
SEEDS = 2**31
BATCHES, FACTORS = 256, 10.0
"""Largest batch, and largest factor of the learning rate."""
METADATA = (16, 64, 512)
"""Most pairs, longest key and longest value (OpenAI's API reference)."""


class Hyperparameters(BaseModel):
    """What a customer may set; ``auto`` is what the provider does by itself."""

    model_config = ConfigDict(extra="forbid")
    n_epochs: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=BATCHES)] = "auto"
    learning_rate_multiplier: Literal["auto"] | Annotated[float, Field(gt=0, le=FACTORS)] = "auto"


class Supervised(BaseModel):
    """The one method's own settings."""

    model_config = ConfigDict(extra="forbid")
    hyperparameters: Hyperparameters = Hyperparameters()


class Method(BaseModel):
    """How to tune; this server knows one way."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["supervised"]
    supervised: Supervised = Supervised()


class JobRequest(BaseModel):
    """A new job."""

    model_config = ConfigDict(extra="forbid")
    model: str
    training_file: str
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    metadata: dict[str, str] | None = None
    validation_file: Any = None
    integrations: Any = None


@router.post("/v1/fine_tuning/jobs")
def create(home: Home, account: Account, request: JobRequest) -> dict[str, Any]:
    """Write a job down."""
    for name in ("validation_file", "integrations"):
        if getattr(request, name):
            raise ApiError(400, f"Unsupported parameter: '{name}' is not supported by this server.", param=name, code="unsupported_parameter")
    if request.method and request.hyperparameters:
        raise ApiError(400, "Give 'method' or the deprecated 'hyperparameters', and not both.", param="hyperparameters", code="invalid_value")
    chosen = request.method.supervised.hyperparameters if request.method else request.hyperparameters or Hyperparameters()
    if isinstance(chosen.n_epochs, int) and chosen.n_epochs > home.provider.limits.epochs:
        most = home.provider.limits.epochs
        raise ApiError(400, f"Invalid value for 'n_epochs': at most {most}.", param="hyperparameters.n_epochs", code="invalid_value")
    _check_words(request)
    with home.database.begin() as session:
        require(home, session, account, request.model)
        if not home.provider.model.tunable:
            raise ApiError(400, f"Fine-tuning is not available for the model '{shown(request.model)}'.", param="model", code="model_not_available")
        file = session.get(File, request.training_file)
        if file is None or file.account != account:
            raise ApiError(400, f"invalid training_file: {shown(request.training_file)}", param="training_file", code="invalid_training_file")
        under_way = session.scalars(select(Job).where(Job.account == account, Job.status.in_(UNFINISHED))).all()
        if len(under_way) >= home.provider.limits.jobs:
            raise ApiError(429, f"{len(under_way)} of your jobs are not finished, which is the most.", type="requests", code="active_job_limit_exceeded")
        job = Job(
            id=new_id("ftjob-"), account=account, model=request.model, training_file=file.id, status="validating_files", created_at=now(),
            seed=secrets.randbelow(SEEDS) if request.seed is None else request.seed, suffix=request.suffix,
            hyperparameters=chosen.model_dump(), told=request.metadata or {},
        )  # fmt: skip
        session.add(job)
        tell(session, job.id, f"Created fine-tuning job: {job.id}")
        tell(session, job.id, f"Validating training file: {file.id}")
        return _shown(job)


def _check_words(request: JobRequest) -> None:
    if request.suffix and not re.fullmatch(r"[A-Za-z0-9_-]+", request.suffix):
        raise ApiError(400, "Invalid value for 'suffix': letters, digits, - and _ only.", param="suffix", code="invalid_value")
    most, key_length, value_length = METADATA
    told = request.metadata or {}
    if len(told) > most or any(len(key) > key_length or len(value) > value_length for key, value in told.items()):
        raise ApiError(
            400, f"Invalid value for 'metadata': at most {most} pairs, keys of {key_length} and values of {value_length} characters.", param="metadata"
        )


@router.get("/v1/fine_tuning/jobs")
def listed(home: Home, account: Account, request: Request, limit: int = 20, after: str | None = None) -> dict[str, Any]:
    """The account's jobs, the newest first; ``metadata[key]=value`` keeps those that were made with it."""
    wanted = {match[1]: value for name, value in request.query_params.items() if (match := re.fullmatch(r"metadata\[(.+)\]", name))}
    with home.database.begin() as session:
        found = session.scalars(select(Job).where(Job.account == account).order_by(Job.number.desc())).all()
    return page([_shown(job) for job in found if wanted.items() <= job.told.items()], limit, after)


@router.get("/v1/fine_tuning/jobs/{id}")
def retrieve(home: Home, account: Account, id: str) -> dict[str, Any]:
    """One job."""
    with home.database.begin() as session:
        return _shown(_job(session, account, id))


@router.post("/v1/fine_tuning/jobs/{id}/cancel")
def cancel(home: Home, account: Account, id: str) -> dict[str, Any]:
    """Stop a job; its worker finds out at its next optimiser step."""
    with home.database.begin() as session:
        job = _job(session, account, id)
        if job.status in FINISHED:
            raise ApiError(400, f"Job has already completed: {job.id}", param="fine_tuning_job_id", code="invalid_job_state")
        job.status, job.finished_at, job.estimated_finish = "cancelled", now(), None
        tell(session, job.id, "The job was cancelled.")
        return _shown(job)


@router.get("/v1/fine_tuning/jobs/{id}/events")
def events(home: Home, account: Account, id: str, limit: int = 20, after: str | None = None) -> dict[str, Any]:
    """What happened to a job, the latest first."""
    with home.database.begin() as session:
        job = _job(session, account, id)
        found = session.scalars(select(Event).where(Event.job == job.id).order_by(Event.number.desc())).all()
    return page([_event(one) for one in found], limit, after)


@router.get("/v1/fine_tuning/jobs/{id}/checkpoints")
def checkpoints(home: Home, account: Account, id: str, limit: int = 10, after: str | None = None) -> dict[str, Any]:
    """The checkpoints of a job that can be asked: the last one, which is the model."""
    with home.database.begin() as session:
        job = _job(session, account, id)
        tuned = session.scalars(select(Tuned).where(Tuned.job == job.id)).all()
        last = session.scalars(select(Event).where(Event.job == job.id, Event.step.is_not(None)).order_by(Event.step.desc())).first()
    found = [
        {
            "id": f"ftckpt_{job.id.removeprefix('ftjob-')}", "object": "fine_tuning.job.checkpoint", "created_at": model.created_at,
            "fine_tuned_model_checkpoint": model.name, "fine_tuning_job_id": job.id, "metrics": last.data if last else {},
            "step_number": last.step if last else 0,
        }
        for model in tuned
    ]  # fmt: skip
    return page(found, limit, after)


def tell(session: Session, job: str, message: str, level: str = "info", step: int | None = None, data: dict[str, Any] | None = None) -> None:
    """Write down what happened to a job."""
    session.add(Event(id=new_id("ftevent-"), job=job, created_at=now(), level=level, message=message, step=step, data=data or {}))


def _job(session: Session, account: str, id: str) -> Job:
    job = session.scalars(select(Job).where(Job.id == id, Job.account == account)).first()
    if job is None:
        raise ApiError(404, f"Could not find fine tune: {shown(id)}", param="fine_tune_id", code="fine_tune_not_found")
    return job


def _shown(job: Job) -> dict[str, Any]:
    return {
        "id": job.id, "object": "fine_tuning.job", "created_at": job.created_at, "finished_at": job.finished_at, "model": job.model,
        "fine_tuned_model": job.fine_tuned_model, "organization_id": f"org-{job.account[:12]}", "status": job.status, "training_file": job.training_file,
        "validation_file": None, "result_files": [], "hyperparameters": job.hyperparameters, "trained_tokens": job.trained_tokens, "error": job.error,
        "seed": job.seed, "estimated_finish": job.estimated_finish, "integrations": [], "metadata": job.told,
        "method": {"type": "supervised", "supervised": {"hyperparameters": job.hyperparameters}}, "user_provided_suffix": job.suffix,
    }  # fmt: skip


def _event(one: Event) -> dict[str, Any]:
    kind = "message" if one.step is None else "metrics"
    told = {"id": one.id, "object": "fine_tuning.job.event", "created_at": one.created_at, "level": one.level, "message": one.message}
    return {**told, "type": kind, "data": one.data}
