"""The service as `tokenvend serve` runs it with one worker, on a free port, with two endpoints beside its own.

One is empty. The other is the vend with a plain query for the session in the place of the batcher.
"""

import dataclasses
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

import app.cli.commands  # noqa: F401 - `serve` is part of the command, and all of that is in its memory
from app.api.credentials import credentials
from app.auth import sessions
from app.auth.sessions import SessionState
from app.compose import Runtime, build_runtime
from app.http import server
from app.http.wire import ResponseModel
from app.main import create_app
from app.platform.db import Database
from app.platform.environment import load_settings
from app.platform.logs import configure_logging

VEND = "/v1/credentials"
PLAIN = "/v1/credentials-by-plain-query"
EMPTY = "/v1/empty"


class Nothing(ResponseModel):
    status: Literal["ok"]


async def do_nothing() -> Nothing:
    return Nothing(status="ok")


class PlainQueries:
    """Takes the place of `runtime.session_states`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, session_id: UUID) -> SessionState | None:
        return (await self._database.read(sessions.states, [session_id])).get(session_id)


def with_plain_queries(service: ASGIApp, runtime: Runtime) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    @functools.cache
    def plain() -> ASGIApp:  # made when it is asked for: the memory at start is the service's own
        queries = cast(Any, PlainQueries(runtime.platform.database))
        return create_app(runtime.platform.settings, dataclasses.replace(runtime, session_states=queries))

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PLAIN:
            scope["path"] = VEND
            await plain()(scope, receive, send)
        else:
            await service(scope, receive, send)

    return dispatch


def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_level)
    # Among the routes of /v1/credentials, so that finding it costs what finding them costs.
    credentials.router.add_api_route(EMPTY.removeprefix("/v1"), do_nothing, methods=["POST"])
    runtime = build_runtime(settings)
    service = with_plain_queries(create_app(settings, runtime), runtime)
    config = server.make_config(service, host="127.0.0.1", port=0)
    sock = server.bind(config.host, config.port)
    server.run(config, sock=sock, on_ready=lambda: print(config.port, flush=True))


if __name__ == "__main__":
    main()
