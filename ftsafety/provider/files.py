"""``/v1/files``: uploads, checked line by line as they come in and kept under ids of our own, never under a name that was sent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Form, UploadFile
from fastapi import File as Upload
from fastapi.responses import FileResponse
from sqlalchemy import func, select

from ftsafety.provider.accounts import Account, Home, Sandbox
from ftsafety.provider.database import UNFINISHED, File, Job, new_id, now
from ftsafety.provider.errors import ApiError, shown
from ftsafety.provider.paging import page
from ftsafety.provider.settings import Limits

router = APIRouter()
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""Of OpenAI's API; this server has a use for one of them."""
NAME_LENGTH = 255


def place_of(folder: Path, id: str) -> Path:
    """Where a file's bytes lie."""
    return folder / "files" / id


@router.post("/v1/files")
def create(home: Home, account: Account, file: Annotated[UploadFile, Upload()], purpose: Annotated[str, Form()]) -> dict[str, Any]:
    """Take an upload in."""
    if purpose not in PURPOSES:
        raise ApiError(400, f"'{shown(purpose)}' is not one of {list(PURPOSES)} - 'purpose'", param="purpose", code="invalid_value")
    if purpose != "fine-tune":
        raise ApiError(400, f"Files with the purpose '{purpose}' are not used by this server; upload with purpose=fine-tune.", param="purpose")
    name = _checked(file.filename or "")
    with home.database.begin() as session:
        kept = session.scalar(select(func.count()).select_from(File).where(File.account == account)) or 0
    if kept >= home.provider.limits.files:
        raise ApiError(400, f"You have {kept} files, which is the most; delete some first.", param="file", code="file_limit_exceeded")
    id = new_id("file-")
    place = place_of(home.provider.folder, id)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{id}.new")
    try:
        with temporary.open("wb") as out:
            for line in _lines(file.file, home.provider.limits):
                out.write(line)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    row = File(id=id, account=account, filename=name, purpose=purpose, bytes=size, created_at=now())
    with home.database.begin() as session:
        session.add(row)
    return _shown(row)


def _checked(name: str) -> str:
    """The file's name, which is only ever shown.

    Raises:
        ApiError: it holds a path, or can't be shown, or does not end as it must.
    """
    if not name or len(name) > NAME_LENGTH or not name.isprintable() or any(mark in name for mark in "/\\") or name.startswith("."):
        raise ApiError(400, "Invalid file name: give a plain name such as mine.jsonl, without a path.", param="file", code="invalid_filename")
    if not name.lower().endswith(".jsonl"):
        raise ApiError(400, "Invalid file format: a file with the purpose 'fine-tune' must be .jsonl.", param="file", code="invalid_file_format")
    return name


def _lines(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    """The lines of an upload, each a JSON object in UTF-8; none is longer than may be held in memory.

    Raises:
        ApiError: names the first line that can't be used.
    """
    number = total = 0
    while line := file.readline(limits.line_bytes + 1):
        number, total = number + 1, total + len(line)
        if len(line) > limits.line_bytes:
            raise _wrong(number, f"is longer than {limits.line_bytes} bytes")
        if total > limits.file_bytes:
            raise ApiError(413, f"The file is larger than {limits.file_bytes} bytes.", param="file", code="file_too_large")
        if line.strip():
            yield _checked_line(line, number)
    if not total:
        raise ApiError(400, "The file is empty.", param="file", code="empty_file")


def _checked_line(line: bytes, number: int) -> bytes:
    try:
        found = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise _wrong(number, "is not valid UTF-8") from None
    except (ValueError, RecursionError):
        raise _wrong(number, "is not valid JSON") from None
    if not isinstance(found, dict):
        raise _wrong(number, "is not a JSON object")
    return line


def _wrong(number: int, what: str) -> ApiError:
    return ApiError(400, f"Expected a file in JSONL format, where every line is a JSON object. Line {number} {what}.", param="file", code="invalid_file_format")


def file_of(home: Sandbox, account: str, id: str) -> File:
    """An account's own file.

    Raises:
        ApiError: there is none, or it is another account's.
    """
    with home.database.begin() as session:
        found = session.get(File, id)
    if found is None or found.account != account:
        raise ApiError(404, f"No such File object: {shown(id)}", param="id")
    return found


@router.get("/v1/files")
def listed(home: Home, account: Account, purpose: str | None = None, limit: int = 10_000, after: str | None = None, order: str = "desc") -> dict[str, Any]:
    """The account's files, the newest first."""
    if order not in ("asc", "desc"):
        raise ApiError(400, "Invalid value for 'order': it is asc or desc.", param="order", code="invalid_value")
    with home.database.begin() as session:
        found = session.scalars(select(File).where(File.account == account)).all()
    rows = sorted((row for row in found if purpose in (None, row.purpose)), key=lambda row: (row.created_at, row.id), reverse=order == "desc")
    return page([_shown(row) for row in rows], limit, after)


@router.get("/v1/files/{id}")
def retrieve(home: Home, account: Account, id: str) -> dict[str, Any]:
    """One file."""
    return _shown(file_of(home, account, id))


@router.get("/v1/files/{id}/content")
def content(home: Home, account: Account, id: str) -> FileResponse:
    """A file's bytes, as they came in but for empty lines."""
    return FileResponse(place_of(home.provider.folder, file_of(home, account, id).id), media_type="application/octet-stream")


@router.delete("/v1/files/{id}")
def delete(home: Home, account: Account, id: str) -> dict[str, Any]:
    """Remove a file, unless a job still reads it."""
    file = file_of(home, account, id)
    with home.database.begin() as session:
        if session.scalars(select(Job).where(Job.training_file == id, Job.status.in_(UNFINISHED))).first():
            raise ApiError(400, f"{id} is in use by a fine-tuning job that is not finished.", param="id", code="file_in_use")
        session.delete(session.get_one(File, file.id))
    place_of(home.provider.folder, id).unlink(missing_ok=True)
    return {"id": id, "object": "file", "deleted": True}


def _shown(row: File) -> dict[str, Any]:
    told = {"id": row.id, "object": "file", "bytes": row.bytes, "created_at": row.created_at, "filename": row.filename, "purpose": row.purpose}
    return {**told, "status": "processed", "status_details": None, "expires_at": None}
