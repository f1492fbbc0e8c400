"""The OpenAPI document: FastAPI's, and what it cannot know of this service.

That is who has to be signed in, and that every refusal is one kind of document (RFC 9457): FastAPI would promise its
own 422, which nobody ever gets.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.routing import BaseRoute

from app.web import GUARDS, ResponseModel

ACCESS_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Of a sign-in or refresh; it lives 15 minutes.",
}
REFUSAL = {
    "description": "A refusal, by its status and `code`.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class FieldError(ResponseModel):
    """One member of the request that does not fit. Its value is never repeated."""

    location: str
    code: str
    message: str


class Problem(ResponseModel):
    """Why a request was refused (RFC 9457). `code` is stable; `errors` is there with status 422 alone."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError] = Field(default=[])


class DescribedApi(FastAPI):
    """FastAPI, with the whole of `openapi`."""

    def __init__(self, *, routers: Iterable[APIRouter], **options: Any) -> None:
        super().__init__(**options)
        self._routers = tuple(routers)
        for router in self._routers:
            self.include_router(router)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            _complete(super().openapi(), chain.from_iterable(router.routes for router in self._routers))
        assert self.openapi_schema is not None
        return self.openapi_schema


def _complete(document: dict[str, Any], routes: Iterable[BaseRoute]) -> None:
    guarded = {route.name for route in routes if isinstance(route, APIRoute) and _is_guarded(route.dependant)}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = REFUSAL
            if operation["operationId"] in guarded:
                operation["security"] = [{"access_token": []}]
    components = document["components"]
    components["securitySchemes"] = {"access_token": ACCESS_TOKEN}
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    template = "#/components/schemas/{model}"
    problem = Problem.model_json_schema(mode="validation", ref_template=template)
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem


def _is_guarded(dependant: Dependant) -> bool:
    return dependant.call in GUARDS or any(map(_is_guarded, dependant.dependencies))
