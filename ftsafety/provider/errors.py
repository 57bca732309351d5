"""Every refusal in the API's own form: a status, and a body ``{"error": {"message", "type", "param", "code"}}``.

A message names what was wrong and quotes nothing that was sent but names and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

INVALID = "invalid_request_error"
SHOWN = 60
"""Characters of a name in a message."""


class ApiError(Exception):
    """A request that is refused."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, type: str = INVALID, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}

    def response(self) -> JSONResponse:
        """What the client gets."""
        return JSONResponse(self.body, self.status, headers=self.headers)


def shown(name: str) -> str:
    """A name from a request, fit to be printed: short, and nothing but what can be seen."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "..."


def unknown_model(name: str) -> ApiError:
    """There is none, or it is another account's: the two can't be told apart."""
    return ApiError(404, f"The model '{shown(name)}' does not exist, or you do not have access to it.", code="model_not_found")


def refuse_with_errors(app: FastAPI) -> None:
    """Make an application answer every refusal, its own and its framework's, in the API's form."""

    async def told(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.response()

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _invalid(error.errors()).response()

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return ApiError(404, f"Invalid URL ({request.method} {shown(request.url.path)})").response()
        if error.status_code == 405:
            return ApiError(405, f"Not allowed to {request.method} on {shown(request.url.path)}.", code="method_not_supported").response()
        return ApiError(error.status_code, "The request can't be read.").response()

    async def too_deep(request: Request, error: Exception) -> JSONResponse:
        return ApiError(400, "The JSON body is nested too deeply.").response()

    async def broken(request: Request, error: Exception) -> JSONResponse:
        return ApiError(500, "The server had an error while processing your request.", type="server_error").response()

    handlers = {ApiError: told, RequestValidationError: invalid, HTTPException: http, RecursionError: too_deep, Exception: broken}
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _invalid(errors: Sequence[Any]) -> ApiError:
    """The first thing that a request's schema has against it."""
    first = errors[0]
    kind, param = str(first["type"]), _param(first["loc"])
    if kind == "json_invalid":
        return ApiError(400, "The body of your request is no valid JSON.")
    if not param:
        return ApiError(400, "The body of your request is missing, or no JSON object.")
    if kind == "missing":
        return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if kind == "extra_forbidden":
        return ApiError(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    what = "type" if kind.endswith(("_type", "_parsing")) else "value"
    return ApiError(400, f"Invalid {what} for '{param}': {first['msg'][0].lower()}{first['msg'][1:]}.", param=param, code=f"invalid_{what}")


def _param(place: Sequence[Any]) -> str:
    """``("body", "messages", 0, "role")`` as ``messages[0].role``; names of a union's branches are left out."""
    found = ""
    for part in place[1:]:
        if isinstance(part, int):
            found += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "int", "float", "constrained"):
            found += f".{part}" if found else part
    return shown(found)
