"""Kinds of routes: they parse JSON strictly, and those of the hot path bypass FastAPI's solver."""

import json
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import (
    TypeAdapter,
    ValidationError,
)
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.crypto.strict_json import DECODER
from app.http.guards import SAFE, origin_of, signed_in
from app.http.provided import Find, find
from app.http.rendering import refusal, unfit
from app.platform.problems import (
    MalformedRequest,
    Problem,
    UnsupportedMediaType,
)


class JsonRequest(Request):
    """A request whose JSON `strict_json` has parsed."""

    value: Any

    async def json(self) -> Any:
        return self.value


class NamedRoute(APIRoute):
    """A route whose operation in the OpenAPI document has the name of its function.

    A request that changes something keeps the turn that `_enrolling` enters until it is answered.
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
    """A route that accepts only `application/json`, and parses it strictly."""

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
    """A route on the hot path. Its endpoint gets `origin`, `actor`, `body` and provided objects directly.

    FastAPI's solver and serializer would cost more than all the rest of a cached vend. FastAPI still sees the
    signature, so the OpenAPI document stays the same.
    """

    bounds_itself = True
    """The route has its own limits instead of the limit `change`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        assert self.body_field is not None
        endpoint, body_type = self.endpoint, TypeAdapter(cast(Any, self.body_field.field_info.annotation))

        kinds = {
            one.name: one.call.kind for one in self.dependant.dependencies if isinstance(one.call, Find) and one.name
        }

        async def handle(request: Request) -> Response:
            value = await _strict_body(request)
            actor = await signed_in(request)
            try:
                body = body_type.validate_python(value)
            except ValidationError as error:
                located = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
                raise RequestValidationError(located) from None
            given: dict[str, Any] = {name: find(request, kind) for name, kind in kinds.items()}
            answer = await endpoint(origin=await origin_of(request), actor=actor, body=body, **given)
            return Response(answer.model_dump_json(), media_type="application/json")

        self.respond = handle
        return handle


class Direct:
    """Finds a `DirectRoute` by method and path, inside all middleware of this service.

    FastAPI's router would try the routes one by one and open two exit stacks, which costs a third of a cached vend. All
    other requests go to that router.
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
            response = refusal(request, problem)
        except RequestValidationError as error:
            response = refusal(request, unfit(error))
        await response(scope, receive, send)


async def _strict_body(request: Request) -> Any:
    """The JSON value of the body; None without a body. Raises `UnsupportedMediaType`, `MalformedRequest`."""
    body = await request.body()
    if not body:
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    return strict_json(body)


def strict_json(body: bytes) -> Any:
    """The value of a UTF-8 JSON text (RFC 8259). Raises `MalformedRequest` for text that parsers read differently.

    Such text has another encoding, duplicate members, NaN, Infinity, lone surrogates, or endless nesting or digits.
    """
    try:
        value = DECODER.decode(body.decode("utf-8"))
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails for a lone surrogate
    except (ValueError, RecursionError):
        raise MalformedRequest("The body is not one well-formed JSON text in UTF-8.") from None
    return value
