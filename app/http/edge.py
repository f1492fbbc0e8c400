"""The outermost ASGI layer: request id, client address, the rules of `door.py`, and an answer to every exception.

It is pure ASGI, because with a `BaseHTTPMiddleware` a core answers less than half as many requests a second.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.cors import METHODS
from app.http.door import ANY_HOST, MAX_BODY, QUIET, SERVER, Door, Failure, Headers
from app.platform.logs import log
from app.platform.logs import request_id as current_request_id
from app.platform.problems import ContentTooLarge, InternalError, Problem
from app.platform.tracing import Span


class Edge:
    """Wraps the application. Whatever fails inside, the client gets an answer with a request id."""

    def __init__(self, app: ASGIApp, *, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._door.tracing.span("request", "server") as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        state = scope["state"]
        started_at, request_id = self._begin(scope)
        current_request_id.set(request_id)
        state["request_id"] = request_id
        client = self._door.client(scope)
        state["address"] = client.address
        if client.fault is not None and scope["path"] not in ANY_HOST:
            self._door.tell(client)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._door.answer_headers(request_id, message["headers"], scope["headers"])
            await send(message)

        # RFC 9110 §9.3.2: HEAD is GET without the body, which the server leaves out. It knows HEAD from its own scope.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            self._door.check(scope)
            headers = self._answer_here(scope)
            if headers is None:
                await self._app(asked, _capped(receive, state), send_with_headers)
            else:
                await _send_empty(headers, send_with_headers)
        except ClientDisconnect:
            log.info("client_disconnected")
        except Exception as error:
            problem = _problem_of(error)
            if status:  # the answer has begun: only a broken connection shows that it is incomplete
                raise
            await send_problem(problem, request_id, send_with_headers)
        finally:
            if scope["path"] not in QUIET:
                self._door.observe(scope["method"], asked, status, started_at, span)

    def _begin(self, scope: Scope) -> tuple[float, str]:
        """When the request began, and its id."""
        failure: Failure | None = scope["state"].get("failure")
        if failure is None:
            return self._door.clock.monotonic(), secrets.token_hex(16)
        scope["route"] = failure
        return failure.came_at, failure.request_id

    def _answer_here(self, scope: Scope) -> Headers | None:
        """The headers of an answer that needs no application; None if this is not for the edge to answer.

        Raises what a shortcut failed with.
        """
        failure: Failure | None = scope["state"].get("failure")
        if failure is not None:
            raise failure.error
        headers = self._door.cors.answer_preflight(scope)
        return [(b"allow", METHODS)] if headers is None and scope["path"] == SERVER else headers


def tell(problem: Problem) -> None:
    """Logs what the operator has to mend."""
    if problem.status >= 500:
        log.error("problem", code=problem.code, cause=problem.cause)


def _problem_of(error: Exception) -> Problem:
    """What the client is told. The log tells more."""
    if isinstance(error, Problem):
        tell(error)
        return error
    log.error("unhandled_exception", exc_info=error)
    return InternalError()


def lift_cap(scope: Scope, most: int) -> None:
    """Lets this request's body have up to `most` bytes. Raises `ContentTooLarge` if Content-Length says more."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise ContentTooLarge
    scope["state"]["most_body"] = most


def _capped(receive: Receive, state: dict[str, Any]) -> Receive:
    """`receive` that raises `ContentTooLarge` after too many bytes, whatever Content-Length says."""
    total = 0

    async def capped() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > MAX_BODY and total > state.get("most_body", MAX_BODY):
            raise ContentTooLarge
        return message

    return capped


async def _send_empty(headers: Headers, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def problem_document(problem: Problem, request_id: str) -> dict[str, Any]:
    """A document of RFC 9457, with this API's `code`, `request_id` and, for a 422, `errors`."""
    document: dict[str, Any] = {
        "type": f"urn:tokenvend:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.status == 422:
        document["errors"] = [
            {"location": error.location, "code": error.code, "message": error.message} for error in problem.errors
        ]
    return document


async def send_problem(problem: Problem, request_id: str, send: Send, extra: Mapping[str, str] | None = None) -> None:
    body = json.dumps(problem_document(problem, request_id)).encode()
    headers: Headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in (extra or {}).items()]
    if problem.challenge is not None:
        error = f', error="{problem.challenge}"' if problem.challenge else ""
        headers.append((b"www-authenticate", f'Bearer realm="tokenvend"{error}'.encode()))
    if problem.status in (429, 503):
        headers.append((b"retry-after", str(problem.retry_after or 1).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
