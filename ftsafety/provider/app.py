"""The application: routes, errors in the API's form, and a limit to what is read of a request."""

from __future__ import annotations

from contextlib import suppress

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ftsafety.provider import chat, files, jobs, models, moderations
from ftsafety.provider.accounts import Doorkeeper, Sandbox
from ftsafety.provider.database import Database
from ftsafety.provider.defense import Defense
from ftsafety.provider.engine import Engine
from ftsafety.provider.errors import ApiError, refuse_with_errors
from ftsafety.provider.settings import MIB, Limits, Provider

UPLOADS = "/v1/files"
FORM_BYTES = MIB
"""What a form may have around its file."""


def make_app(provider: Provider, database: Database) -> FastAPI:
    """The application on a provider's database; jobs that it writes down are done by workers."""
    from ftsafety.weights import Loader

    app = FastAPI(title="ftsafety provider sandbox", openapi_url="/openapi.json")
    engine = Engine(Loader(provider.store), provider.batch)
    doorkeeper = Doorkeeper(provider.keys_env, provider.limits.requests_per_minute)
    app.state.sandbox = Sandbox(provider, database, engine, Defense(provider), doorkeeper)
    refuse_with_errors(app)
    for part in (files, jobs, models, chat, moderations):
        app.include_router(part.router)
    app.add_middleware(BodyLimit, limits=provider.limits)
    return app


class BodyLimit:
    """Refuses a body that is too large before it is all there."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.limits.file_bytes + FORM_BYTES if scope["path"] == UPLOADS else self.limits.request_bytes
        refusal = ApiError(413, f"The request is larger than {most} bytes.", code="request_too_large").response()
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            await refusal(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            # the framework takes the interruption for a body that can't be parsed, and would say so
            if read <= most:
                await send(message)

        with suppress(_TooLarge):
            await self.app(scope, counted, noted)
        if read > most:
            await refusal(scope, receive, send)


class _TooLarge(Exception):
    pass
