"""The OpenAPI document: FastAPI's, and what it cannot know of this service or of those who read it.

That is who has to be signed in, that every refusal is one kind of document (RFC 9457), and which of its habits spoil
the clients that are generated from it: a type for each place where a choice stands, a union for what may be left out.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, get_args

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.routing import BaseRoute

from app.accounts import registration
from app.admin import bulk, exports, formats, imports, mails, stats, user_filters
from app.api.admin import status
from app.api.auth import wire
from app.api.examples import BODIES, EXAMPLES
from app.api.meanings import MEANINGS
from app.auth import keys, mfa, providers, sessions
from app.http.guards import GUARDS, WELCOMES
from app.http.wire import ResponseModel
from app.platform.problems import Problem as Refusal
from app.policy.session_policy import Access
from app.records import counting, listing, outgoing
from app.records.audit import Event, Outcome
from app.sharing import giving
from app.upkeep import checks
from app.vending.access_checks import Reason
from app.vending.orders import Purpose

Json = dict[str, Any]

ACCESS_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The access token of a sign-in or a refresh. It lives 15 minutes.",
}
INFO = {
    "description": (
        "Registers the users of an app, signs them in, and gives each device temporary AWS keys for its user's own "
        "prefix of one bucket. Times are RFC 3339 in UTC. Every refusal is an `application/problem+json` "
        "(RFC 9457) with a stable `code`."
    ),
    "contact": {"name": "The operator of this service"},
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
REFUSAL = {
    "description": "A refusal. Its status and `code` say which.",
    "headers": {
        "X-Request-ID": {
            "description": "The id to quote when you report the refusal.",
            "schema": {"type": "string", "examples": [EXAMPLES["request_id"]]},
        },
        "Retry-After": {
            "description": "With 429 and 503: the seconds to wait before the next try.",
            "schema": {"type": "integer", "examples": [30]},
        },
    },
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "Access": get_args(Access),
    "CredentialPurpose": get_args(Purpose),
    "AccessReason": get_args(Reason),
    "AuditEventName": get_args(Event),
    "AuditOutcome": get_args(Outcome),
    "CodeMethod": get_args(mfa.CodeMethod),
    "SecondFactor": get_args(mfa.Factor),
    "SignInMethod": get_args(sessions.Method),
    "LoginStatus": get_args(wire.LoginStatus),
    "RegistrationStatus": get_args(registration.Status),
    "UserRole": get_args(user_filters.Role),
    "UserStatus": get_args(user_filters.Status),
    "UserAct": get_args(bulk.BulkAct),
    "UserSort": get_args(user_filters.Sort),
    "SortDirection": get_args(listing.Direction),
    "CountKind": get_args(counting.Kind),
    "StatsWindow": get_args(stats.Window),
    "ShareAccess": get_args(giving.ShareAccess),
    "ImportSource": get_args(formats.SourceName),
    "ImportStatus": get_args(imports.Status),
    "ImportedPassword": get_args(imports.Password),
    "ExportFormat": get_args(exports.Format),
    "ExportColumns": get_args(exports.Columns),
    "OutboxMailState": get_args(mails.State),
    "OutgoingEventType": get_args(outgoing.EventType),
    "FindingState": get_args(checks.State),
    "ProviderState": get_args(providers.ProviderState),
    "RevocationMode": get_args(status.RevocationMode),
    "CanaryResult": get_args(status.CanaryResult),
    "SigningKeyPurpose": get_args(keys.KeyPurpose),
    "SigningKeyState": get_args(status.KeyState),
    "HealthStatus": ("ok",),
    "TokenType": ("Bearer",),
    "PasskeyType": ("public-key",),
    "PasskeyAttestation": ("none",),
    "PasskeyRequirement": ("required",),
}
"""Texts to choose from, by the name of their type: one type each, in whichever models they stand."""
SPELLINGS = {
    "mfa": "MFA",
    "totp": "TOTP",
    "oidc": "OIDC",
    "jwks": "JWKS",
    "sts": "STS",
    "saml": "SAML",
    "openid": "OpenID",
}


class FieldError(ResponseModel):
    """One member of the request that is not valid. The value of the member is never repeated."""

    location: str
    """Where in the request it stands, such as `body.password`."""
    code: str
    """What is wrong, for programs."""
    message: str
    """What is wrong, for developers."""


class Problem(ResponseModel):
    """Why a request was refused (RFC 9457). `code` is stable. `errors` is present only with status 422."""

    type: str
    """The problem code as a URN."""
    title: str
    """What is wrong, in a few words."""
    status: int
    """The status of the answer."""
    detail: str
    """What is wrong, for developers."""
    code: str
    """What is wrong, for programs. Choose the text for your users by it."""
    request_id: str
    """The id to quote when you report the refusal."""
    errors: list[FieldError] = Field(default=[])
    """The members of the request that are not valid. Left out unless `status` is 422."""


class DescribedApi(FastAPI):
    """FastAPI, with the whole of `openapi`."""

    def __init__(self, *, routers: Iterable[APIRouter], path: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._path = path or "/"
        self._routers = tuple(routers)
        # As they are: `include_router` would build each anew at the first request, for a prefix that none has here.
        self.router.routes.extend(chain.from_iterable(router.routes for router in self._routers))

    def openapi(self) -> Json:
        if self.openapi_schema is None:
            document = super().openapi()
            document["servers"] = [{"url": self._path, "description": "The service that served this document."}]
            _complete(document, chain.from_iterable(router.routes for router in self._routers))
        assert self.openapi_schema is not None
        return self.openapi_schema


def _complete(document: Json, routes: Iterable[BaseRoute]) -> None:
    document["info"] |= INFO
    security = {route.name: _security(route.dependant) for route in routes if isinstance(route, APIRoute)}
    for operation in chain.from_iterable(operations.values() for operations in document["paths"].values()):
        _complete_operation(operation, security=security.get(operation["operationId"], []))
    components = document["components"]
    components["securitySchemes"] = {"bearerAuth": ACCESS_TOKEN}
    components["responses"] = {"Problem": REFUSAL}
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(mode="validation", ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    for model, schema in schemas.items():
        for member, part in schema.get("properties", {}).items():
            if (name := f"{model}.{member}") in EXAMPLES:
                part["examples"] = [EXAMPLES[name]]
            if member in MEANINGS:
                part.setdefault("description", MEANINGS[member])
        _tidy(schema)
    schemas |= {name: {"type": "string", "enum": list(texts)} for name, texts in CHOICES.items()}
    schemas["ProblemCode"] = {"type": "string", "enum": sorted(Refusal.catalogue)}
    code = problem["properties"]["code"]["description"]
    problem["properties"]["code"] = {"description": code, "$ref": "#/components/schemas/ProblemCode"}
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    for operation in chain.from_iterable(operations.values() for operations in document["paths"].values()):
        for content in operation.get("requestBody", {"content": {}})["content"].values():
            content["example"] = BODIES.get(operation["operationId"]) or _least(content["schema"], schemas)


def _least(schema: Json, schemas: Json) -> Any:
    """The least that can be sent: the example of each member that has to be there, and no other."""
    if "$ref" in schema:
        return _least(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    members = schema.get("properties", {})
    return {name: _least(members[name], schemas) for name in schema.get("required", ())}


def _title(name: str) -> str:
    """`answer_mfa_challenge` as "Answer MFA challenge"."""
    title = " ".join(SPELLINGS.get(word, word) for word in name.split("_"))
    return title[0].upper() + title[1:]


def _complete_operation(operation: Json, *, security: list[Json]) -> None:
    operation["summary"] = _title(operation["operationId"])
    responses = operation["responses"]
    responses.pop("422", None)
    responses |= {status: {"$ref": "#/components/responses/Problem"} for status in ("4XX", "5XX")}
    operation["security"] = security
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _given(parameter["schema"])
        if (name := f"{operation['operationId']}.{parameter['name']}") in EXAMPLES:
            parameter["schema"]["examples"] = [EXAMPLES[name]]
        if parameter["name"] in MEANINGS:
            parameter.setdefault("description", MEANINGS[parameter["name"]])
        _tidy(parameter["schema"], name=parameter["name"])
        if "$ref" in parameter["schema"] and (default := parameter["schema"].pop("default", None)):
            # Generators write it as a name of their language.
            parameter["description"] = f"{parameter.get('description', '')} The default is `{default}`.".strip()
    if "requestBody" in operation:
        body = operation["requestBody"]
        body["required"] = body.get("required", False)
        for content in body["content"].values():
            content["schema"] = _given(content["schema"])
            content["schema"].pop("title", None)


def _given(schema: Json) -> Json:
    """The schema of what is sent, where leaving it out is the way to send nothing."""
    whole = {name: value for name, value in schema.items() if name != "anyOf"}
    given = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    assert len(given) < 2
    return whole | given[0] if given else schema


def _tidy(schema: Json, *, name: str | None = None) -> None:
    """Takes out what generators make nonsense of, and puts in names of choices, and examples."""
    for member, part in schema.get("properties", {}).items():
        if member in schema.get("required", ()):
            part.pop("default", None)
        _tidy(part, name=member)
    for part in _parts(schema):
        _tidy(part)
    schema.pop("title", None)
    schema.pop("writeOnly", None)
    _name_choice(schema)
    _flatten_null(schema)
    if name in ("email", "new_email", "grantee_email", "owner_email"):
        schema["format"] = "email"
    if name in EXAMPLES and "string" in str(schema.get("type")) + str(schema.get("items", {}).get("type")):
        schema.setdefault("examples", [EXAMPLES[name]])


def _name_choice(schema: Json) -> None:
    """A constant of another type than text stays open: no generator has a type for the one number or truth."""
    constant = schema.pop("const", None)
    texts = tuple(schema.get("enum", (constant,)))
    named = [name for name, choice in CHOICES.items() if choice == texts]
    if named:
        del schema["type"]
        schema.pop("enum", None)
        schema["$ref"] = f"#/components/schemas/{named[0]}"


def _flatten_null(schema: Json) -> None:
    """A text or null is one type, where a union of two would be a model of its own."""
    parts = schema.get("anyOf", [])
    if len(parts) == 2 and "type" in parts[0] and parts[1] == {"type": "null"}:
        del schema["anyOf"]
        schema |= parts[0] | {"type": [parts[0]["type"], "null"]}


def _parts(schema: Json) -> Iterator[Json]:
    yield from schema.get("anyOf", ())
    if "items" in schema:
        yield schema["items"]


def _security(dependant: Dependant) -> list[Json]:
    """With an access token, without one, or either way."""
    if _depends(dependant, GUARDS):
        return [{"bearerAuth": []}]
    return [{"bearerAuth": []}, {}] if _depends(dependant, WELCOMES) else []


def _depends(dependant: Dependant, on: Container[Any]) -> bool:
    return dependant.call in on or any(_depends(one, on) for one in dependant.dependencies)
