"""What every route stands on: wire models, strict JSON, the dependencies of a request, problems as answers."""

import json
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated, Any, cast

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app import newcomers
from app.actor import Actor
from app.audit import Origin
from app.auth import authentication
from app.crypto import unique_members
from app.edge import send_problem
from app.limits import address_key
from app.local import is_local
from app.problems import (
    ContentTooLarge,
    FieldError,
    Forbidden,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    MfaRequired,
    NotFound,
    OriginNotAllowed,
    Problem,
    StepUpRequired,
    Unauthenticated,
    UnsupportedMediaType,
)
from app.runtime import Runtime
from app.text import is_printable

log = structlog.get_logger("tokenvend.http")


SAFE = ("GET", "HEAD")
"""Methods that change nothing (RFC 9110 §9.2.1)."""


class RequestModel(BaseModel):
    """A closed model: an unknown member is a 422, and no type is converted into another."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """Every member is always present; what may be missing is null."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


Timestamp = Annotated[
    datetime,
    PlainSerializer(_rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""RFC 3339 in whole seconds, UTC, ending in `Z`."""


_DATE = re.compile("[0-9]{4}-[0-9]{2}-")


def _written_out(value: object) -> object:
    """A number would be read as seconds since 1970."""
    if isinstance(value, str) and not _DATE.match(value):
        raise ValueError("write a time as 2026-11-23T18:00:00Z")
    return value


def _text_of_one(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("write a time as 2026-11-23T18:00:00Z")
    return _written_out(value)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time does not exist in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
"""RFC 3339, as a caller writes it in a query."""
MomentInBody = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text_of_one), AfterValidator(_in_utc)]
"""The same in JSON, which has no type of its own for it: a text is read as one, a number never."""


def _printable(value: str) -> str:
    if not is_printable(value):
        raise ValueError("control characters are not allowed")
    return value


def _no_nul(value: SecretStr) -> SecretStr:
    if "\0" in value.get_secret_value():
        raise ValueError("a NUL character is not allowed")
    return value


PrintableText = Annotated[str, AfterValidator(_printable)]
PasswordText = Annotated[SecretStr, AfterValidator(_no_nul)]


class JsonRequest(Request):
    """A request whose JSON was read by `strict_json`."""

    value: Any

    async def json(self) -> Any:
        return self.value


class NamedRoute(APIRoute):
    """A route whose operation in the OpenAPI document has the name of its function.

    What `_enrolling` enters, a request keeps until it is answered.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options | {"generate_unique_id_function": lambda route: route.name})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if {*(self.methods or ())} <= {*SAFE}:
            return handle

        async def handle_in_turn(request: Request) -> Response:
            async with AsyncExitStack() as until_answered:
                request.scope["state"]["until_answered"] = until_answered
                return await handle(request)

        return handle_in_turn


class JsonRoute(NamedRoute):
    """A route that takes `application/json` alone, and parses it strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_strictly(request: Request) -> Response:
            strict = JsonRequest(request.scope, request.receive)
            strict.value = await _strict_body(strict)
            return await handle(strict)

        return handle_strictly


class DirectRoute(JsonRoute):
    """A route on the hot path: its endpoint takes `runtime`, `origin`, `actor` and `body`, and gets them directly.

    FastAPI's solver and serializer would cost more than all the rest of a cached vend. They see the signature still,
    so that the OpenAPI document is what it would be.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        assert self.body_field is not None
        endpoint, body_type = self.endpoint, TypeAdapter(cast(Any, self.body_field.field_info.annotation))

        async def handle(request: Request) -> Response:
            value = await _strict_body(request)
            actor = await _signed_in(request)
            try:
                body = body_type.validate_python(value)
            except ValidationError as error:
                located = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
                raise RequestValidationError(located) from None
            answer = await endpoint(
                runtime=await _runtime(request), origin=await _origin(request), actor=actor, body=body
            )
            return Response(answer.model_dump_json(), media_type="application/json")

        self.respond = handle
        return handle


class Direct:
    """Finds a `DirectRoute` by its whole path, inside of all middleware that this service adds.

    FastAPI's router would try each route in turn and open two exit stacks: as much as a third of a cached vend. It gets
    all other requests, and these too where the method is another.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, DirectRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.respond(request)
        except Problem as problem:
            response = _refusal(request, problem)
        except RequestValidationError as error:
            response = _refusal(request, _unfit(error))
        await response(scope, receive, send)


async def _strict_body(request: Request) -> Any:
    """The JSON value of the body; None without one. Raises `UnsupportedMediaType`, `MalformedRequest`."""
    body = await request.body()
    if not body:
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    return strict_json(body)


def strict_json(body: bytes) -> Any:
    """The value of a UTF-8 JSON text (RFC 8259). Raises `MalformedRequest` for what parsers disagree about.

    That is: other encodings, a member that stands twice, NaN and Infinity, lone surrogates, endless nesting or digits.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate has no UTF-8
    except (ValueError, RecursionError):
        raise MalformedRequest("The body is not one well-formed JSON text in UTF-8.") from None
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=_refuse_constant)


# `async`, although they wait for nothing: FastAPI sends a plain function through a thread.
async def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


async def _origin(request: Request) -> Origin:
    state = request.scope["state"]
    return Origin(state["request_id"], state["address"])


RuntimeDep = Annotated[Runtime, Depends(_runtime)]
OriginDep = Annotated[Origin, Depends(_origin)]


async def _signed_in(request: Request) -> Actor:
    return await _with_second_factor(request, await _enrolling(request))


async def _enrolling(request: Request) -> Actor:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    runtime = await _runtime(request)
    actor = await authentication.authenticate(runtime, await _origin(request), token.strip())
    if request.method not in SAFE and not isinstance(request.scope.get("route"), DirectRoute):
        await runtime.limiter.hit("change", str(actor.user_id))
        if newcomers.is_newcomer(actor, runtime.clock.now()):
            state = request.scope["state"]
            await state["until_answered"].enter_async_context(runtime.newcomers.turn(address_key(state["address"])))
    return actor


async def _maybe_signed_in(request: Request) -> Actor | None:
    """A header that is sent has to be a valid one: an app whose token has expired renews it, as everywhere."""
    return await _enrolling(request) if "authorization" in request.headers else None


async def _signed_in_bare(request: Request) -> Actor:
    """As the AWS SDKs' container provider sends it: the header is the token, with or without `Bearer`."""
    header = request.headers.get("authorization", "").strip()
    scheme, _, token = header.partition(" ")
    bare = token.strip() if scheme.lower() == "bearer" else header
    if not bare:
        raise Unauthenticated
    actor = await authentication.authenticate(await _runtime(request), await _origin(request), bare)
    return await _with_second_factor(request, actor)


async def _with_second_factor(request: Request, actor: Actor) -> Actor:
    """The actor. Raises `MfaRequired` for an administrator without a second factor (ASVS 6.3.3).

    Development spares administrators on its own machine the second factor.
    """
    if actor.role != "user" and not actor.mfa:
        runtime = await _runtime(request)
        if runtime.settings.environment != "development" or not is_local(request.scope):
            await authentication.record_refusal(runtime, await _origin(request), actor, reason="mfa_required")
            raise MfaRequired
    return actor


async def _support(request: Request) -> Actor:
    return await _in_role(request, "support", "admin")


async def _admin(request: Request) -> Actor:
    return await _in_role(request, "admin")


async def _in_role(request: Request, *roles: str) -> Actor:
    """Raises `Forbidden`."""
    actor = await _signed_in(request)
    if actor.role not in roles:
        runtime, origin = await _runtime(request), await _origin(request)
        await authentication.record_refusal(runtime, origin, actor, reason="forbidden")
        raise Forbidden
    return actor


async def _stepped_up(request: Request) -> Actor:
    return await _with_second_factor(request, await _stepped_up_enrolling(request))


async def _stepped_up_enrolling(request: Request) -> Actor:
    """Who signed in, or stepped up, a moment ago (ASVS 7.5.1). Raises `StepUpRequired`."""
    actor = await _enrolling(request)
    if not actor.is_fresh((await _runtime(request)).clock.now()):
        raise StepUpRequired
    return actor


SignedIn = Annotated[Actor, Depends(_signed_in)]
Enrolling = Annotated[Actor, Depends(_enrolling)]
"""Signed in, though an administrator may have no second factor yet: for setting one up."""
MaybeSignedIn = Annotated[Actor | None, Depends(_maybe_signed_in)]
"""Of a public route that asks less of whoever is signed in."""
SteppedUp = Annotated[Actor, Depends(_stepped_up)]
SteppedUpEnrolling = Annotated[Actor, Depends(_stepped_up_enrolling)]
"""Stepped up, and `Enrolling`."""
Support = Annotated[Actor, Depends(_support)]
"""Who reads as an administrator does, signs out and sends resets."""
Admin = Annotated[Actor, Depends(_admin)]
SignedInBare = Annotated[Actor, Depends(_signed_in_bare)]
WELCOMES = frozenset({_maybe_signed_in})
"""What a public route depends on that knows a signed-in caller."""
GUARDS = frozenset({_signed_in, _enrolling, _stepped_up, _stepped_up_enrolling, _signed_in_bare, _support, _admin})
"""What a route that is not public depends on."""


class ProblemResponse(Response):
    """A problem document; `headers` are the framework's own, such as the `Allow` of a 405."""

    def __init__(self, problem: Problem, request_id: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status_code=problem.status)
        self._problem, self._request_id, self._extra = problem, request_id, headers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_problem(self._problem, self._request_id, send, self._extra)


class Cors(CORSMiddleware):
    """Starlette's, but a refused preflight is a problem like all others."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code >= 400:
            raise OriginNotAllowed
        return response


_BY_STATUS: dict[int, type[Problem]] = {404: NotFound, 405: MethodNotAllowed, 413: ContentTooLarge}


def install_problem_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Every refusal, the framework's own too, becomes a problem document that echoes nothing."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return _refusal(request, error)

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
        return _refusal(request, _unfit(error))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid)


def _allowed(known: str, routes: Iterable[BaseRoute], scope: Scope) -> str:
    """All methods of an address (RFC 9110 §15.5.6): the framework names those of its first route alone."""
    here = (route for route in routes if isinstance(route, APIRoute) and route.matches(scope)[0] is not Match.NONE)
    return ", ".join(sorted({*known.split(", "), *chain.from_iterable(route.methods or () for route in here)}))


def _refusal(request: Request, problem: Problem) -> Response:
    if problem.status >= 500:
        log.error("problem", code=problem.code, cause=problem.cause)
    return ProblemResponse(problem, request.state.request_id)


def _unfit(error: RequestValidationError) -> InvalidRequest:
    return InvalidRequest(
        errors=[
            _without_value(FieldError(".".join(str(part) for part in entry["loc"]), entry["type"], entry["msg"]))
            for entry in error.errors()
        ]
    )


def _without_value(error: FieldError) -> FieldError:
    """pydantic repeats the name of an unknown member and the character at which a UUID breaks: the caller's, both."""
    if error.code == "extra_forbidden":
        return FieldError(error.location.split(".")[0], error.code, "An unknown member is not allowed.")
    if error.code.endswith("_parsing"):
        return FieldError(error.location, error.code, f"{error.message.partition(',')[0]}.")
    return error
