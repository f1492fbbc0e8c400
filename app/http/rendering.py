"""Answers with problem documents."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.http.edge import send_problem, tell
from app.platform.problems import (
    ContentTooLarge,
    FieldError,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
)


class ProblemResponse(Response):
    """A problem document. `headers` are the framework's own, such as `Allow` for a 405. It can set one cookie."""

    def __init__(self, problem: Problem, request_id: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status_code=problem.status)
        self._problem, self._request_id, self._extra = problem, request_id, headers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        cookie = self.headers.get("set-cookie")
        extra = {**(self._extra or {}), **({"Set-Cookie": cookie} if cookie else {})}
        await send_problem(self._problem, self._request_id, send, extra)


_BY_STATUS: dict[int, type[Problem]] = {404: NotFound, 405: MethodNotAllowed, 413: ContentTooLarge}


def install_problem_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Turns every refusal, including the framework's own, into a problem document without the caller's values."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return refusal(request, error)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        fallback = InternalError if error.status_code >= 500 else MalformedRequest
        problem = _BY_STATUS.get(error.status_code, fallback)()
        headers = dict(error.headers or {})
        if "Allow" in headers:
            headers["Allow"] = _allowed(headers["Allow"], routes, request.scope)
        return ProblemResponse(problem, request.state.request_id, headers)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return refusal(request, unfit(error))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid)


def _allowed(known: str, routes: Iterable[BaseRoute], scope: Scope) -> str:
    """All methods of an address (RFC 9110 §15.5.6). The framework names only those of the first route, without HEAD."""
    here = (route for route in routes if isinstance(route, APIRoute) and route.matches(scope)[0] is not Match.NONE)
    methods = {*known.split(", "), *chain.from_iterable(route.methods or () for route in here)}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def refusal(request: Request, problem: Problem) -> Response:
    tell(problem)
    return ProblemResponse(problem, request.state.request_id)


def unfit(error: RequestValidationError) -> InvalidRequest:
    return InvalidRequest(
        errors=[
            _without_value(FieldError(".".join(str(part) for part in entry["loc"]), entry["type"], entry["msg"]))
            for entry in error.errors()
        ]
    )


def _without_value(error: FieldError) -> FieldError:
    """The error without the caller's text: pydantic repeats unknown members' names, and a wrong character of a UUID."""
    if error.code == "extra_forbidden":
        return FieldError(error.location.split(".")[0], error.code, "An unknown member is not allowed.")
    if error.code.endswith("_parsing"):
        return FieldError(error.location, error.code, f"{error.message.partition(',')[0]}.")
    return error
