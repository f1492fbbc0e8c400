"""The OpenAPI document: what clients are generated from says what the service does, and reads well in each language."""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from app.api.auth.wire import TokenSet
from app.api.meanings import MEANINGS
from app.platform.problems import Problem
from tests.support.databases import SqliteDatabases
from tests.support.openapi import openapi
from tests.support.service import Service, running_service

COMMITTED = Path(__file__).parents[2] / "deploy" / "sdk" / "openapi.json"
DOCUMENT = openapi()
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATION_IDS = [operation["operationId"] for _, _, operation in OPERATIONS]
FIXED = {"register_user", "log_in", "refresh_session", "log_out", "issue_credentials"}
"""By the contract."""
VERBS = re.compile(
    "accept|add|answer|begin|change|check|complete|confirm|create|decode|disable|download|enable|end|enrol|erase|explain|export"
    "|get|import|issue|link|list|log|open|redeliver|refresh|register|remove|rename|renew|report|request|reset|retry|revoke|rotate|send|sign|start|step"
    "|unlink|unlock|update|upgrade|verify|withdraw"
)


@pytest.fixture
def service(sqlite_databases: SqliteDatabases, tmp_path: Path) -> Iterator[Service]:
    with running_service(sqlite_databases.create(tmp_path)) as running:
        yield running


def parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema, and every schema that it is made of."""
    yield schema
    for part in (*schema.get("properties", {}).values(), *schema.get("anyOf", ()), schema.get("items")):
        if part is not None:
            yield from parts(part)


def reached(schema: dict[str, Any]) -> set[str]:
    """The names of the models that a value of this schema is made of."""
    names: set[str] = set()
    waiting = [schema]
    while waiting:
        for part in parts(waiting.pop()):
            name = part.get("$ref", "").rpartition("/")[2]
            if name and name not in names:
                names.add(name)
                waiting.append(SCHEMAS[name])
    return names


FILE = {"type": "string", "format": "binary"}


def body_schemas() -> list[dict[str, Any]]:
    bodies = [operation["requestBody"] for _, _, operation in OPERATIONS if "requestBody" in operation]
    return [content["schema"] for body in bodies for content in body["content"].values()]


def answer_schemas() -> list[dict[str, Any]]:
    answers = [answer for _, _, operation in OPERATIONS for answer in operation["responses"].values()]
    contents = [content for answer in answers for content in answer.get("content", {}).values()]
    return [content["schema"] for content in contents]


SENT = set().union(*map(reached, body_schemas()))
ANSWERED = set().union(*map(reached, answer_schemas()))
MEMBERS = [
    *(
        (f"{name}.{member}", member, part)
        for name, schema in SCHEMAS.items()
        for member, part in schema.get("properties", {}).items()
    ),
    *(
        (f"{operation['operationId']}.{parameter['name']}", parameter["name"], parameter)
        for _, _, operation in OPERATIONS
        for parameter in operation.get("parameters", ())
    ),
]
"""Where it stands, its name, and what the document says of it."""
ALL_SCHEMAS = [
    *((name, part) for name, schema in SCHEMAS.items() for part in parts(schema)),
    *(
        (operation["operationId"], part)
        for _, _, operation in OPERATIONS
        for parameter in operation.get("parameters", ())
        for part in parts(parameter["schema"])
    ),
]


@pytest.mark.slow("the whole document")
def test_is_valid() -> None:
    validate(DOCUMENT)


def test_is_the_one_that_is_committed() -> None:
    text = json.dumps(DOCUMENT, indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == text, "run `make openapi`, and say in CHANGELOG.md what changed"


def test_names_its_service_and_its_licence() -> None:
    info = DOCUMENT["info"]
    assert info["title"] == "tokenvend"
    assert info["contact"].keys() == {"name"}
    assert info["license"]["identifier"] == "Apache-2.0"
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]


class TestOperations:
    def test_are_named_by_verb_and_noun(self) -> None:
        assert set(OPERATION_IDS) >= FIXED
        assert len(OPERATION_IDS) == len(set(OPERATION_IDS))
        for name in OPERATION_IDS:
            verb, *noun = name.split("_")
            assert VERBS.fullmatch(verb), name
            assert noun, name

    def test_have_one_tag_each_that_says_what_it_is(self) -> None:
        described = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
        for _, _, operation in OPERATIONS:
            assert len(operation["tags"]) == 1
            assert operation["tags"][0] in described
            assert operation["description"]

    def test_ask_for_no_null_where_it_can_be_left_out(self) -> None:
        for _, _, operation in OPERATIONS:
            for parameter in operation.get("parameters", ()):
                assert "null" not in str(parameter["schema"]), (operation["operationId"], parameter["name"])


class TestMeanings:
    def test_are_told_of_every_member_and_parameter(self) -> None:
        assert [name for name, _, part in MEMBERS if not part.get("description", "").endswith(".")] == []

    def test_are_told_below_members_and_not_in_code_that_runs(self) -> None:
        assert SCHEMAS["TokenSet"]["properties"]["expires_in"]["description"].startswith("How long the access token")
        assert "description" not in str(TokenSet.model_fields["expires_in"])

    def test_of_the_table_are_all_used(self) -> None:
        told = {(member, part["description"]) for _, member, part in MEMBERS}
        unused = {
            name
            for name, meaning in MEANINGS.items()
            if not any(member == name and said.startswith(meaning) for member, said in told)
        }
        assert unused == set()

    def test_stand_in_the_table_only_if_several_share_them(self) -> None:
        shared = Counter(part["description"] for _, _, part in MEMBERS)
        assert {name for name, meaning in MEANINGS.items() if shared[meaning] == 1} == set()


class TestModels:
    def test_of_bodies_are_named_requests(self) -> None:
        for schema in body_schemas():
            if schema == FILE:
                continue
            assert re.fullmatch(r"#/components/schemas/[A-Z]\w+Request", schema.get("$ref", "")), schema

    def test_of_answers_are_named(self) -> None:
        others = [schema for schema in answer_schemas() if "$ref" not in schema]
        assert [schema for schema in others if schema != FILE] == [{"type": "string"}] * 2  # metrics, SAML's metadata

    def test_are_either_sent_or_answered(self) -> None:
        assert {name for name in SENT & ANSWERED if "enum" not in SCHEMAS[name]} == set()

    def test_of_answers_have_all_their_members(self) -> None:
        """What may be missing is null, so that no client has to tell two kinds of nothing apart."""
        for name in ANSWERED:
            members = SCHEMAS[name].get("properties", {}).keys()
            assert set(SCHEMAS[name].get("required", ())) == members, name

    def test_of_requests_take_null_for_what_is_left_out(self) -> None:
        """A client in Kotlin or Swift cannot tell them apart."""
        for name in SENT:
            members = SCHEMAS[name].get("properties", {})
            nullable = {member for member, schema in members.items() if "null" in str(schema.get("type", schema))}
            assert not nullable & set(SCHEMAS[name].get("required", ())), name

    def test_of_requests_are_closed_but_for_what_devices_write(self) -> None:
        open_ones = {"ExtensionResults", "CredentialProperties", "RegistrationCredential", "AuthenticationCredential"}
        open_ones |= {"AttestationResponse", "AssertionResponse"}
        for name in SENT:
            if "properties" in SCHEMAS[name] and name not in open_ones:
                assert SCHEMAS[name]["additionalProperties"] is False, name

    def test_have_no_free_form_members(self) -> None:
        for name, schema in ALL_SCHEMAS:
            assert schema, name
            if schema.get("type") == "object":
                assert schema["properties"], name
                assert schema.get("additionalProperties") in (None, False), name

    def test_have_no_union_but_with_null(self) -> None:
        for name, schema in ALL_SCHEMAS:
            assert not schema.keys() & {"oneOf", "allOf", "not"}, name
            for kinds in (schema.get("anyOf"), schema["type"] if isinstance(schema.get("type"), list) else None):
                assert kinds is None or (len(kinds) == 2 and kinds[1] in ("null", {"type": "null"})), name

    def test_have_no_members_that_generators_leave_out_or_misname(self) -> None:
        for name, schema in ALL_SCHEMAS:
            assert not schema.keys() & {"writeOnly", "const", "title"}, name

    def test_name_each_choice_once(self) -> None:
        inline = [name for name, schema in ALL_SCHEMAS if "enum" in schema and schema is not SCHEMAS.get(name)]
        assert inline == [], "name them in CHOICES of app/api/openapi.py"

    def test_have_no_member_of_their_own_name(self) -> None:
        """In Python the one would take the other's place."""
        for name, schema in SCHEMAS.items():
            assert re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() not in schema.get("properties", {}), name

    def test_all_are_used(self) -> None:
        asked = {
            name
            for _, _, operation in OPERATIONS
            for parameter in operation.get("parameters", ())
            for name in reached(parameter["schema"])
        }
        problem = DOCUMENT["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"]
        assert SCHEMAS.keys() == SENT | ANSWERED | asked | reached(problem)


class TestSignIn:
    def test_is_asked_for_where_the_document_says_so(self, service: Service) -> None:
        """Whoever sends nothing is told to sign in by these routes, and by no other."""
        guarded = set()
        for method, path, _ in OPERATIONS:
            place = re.sub(r"\{\w+_id\}", str(uuid.UUID(int=7)), path).replace("{", "").replace("}", "")
            answer = service.client.request(method, place)
            if answer.status_code == 401 and answer.json()["code"] == "unauthenticated":
                guarded.add((method, path))
        said = {
            (method, path) for method, path, operation in OPERATIONS if operation["security"] == [{"bearerAuth": []}]
        }
        open_to_all = ([], [{"bearerAuth": []}, {}])  # the latter knows a signed-in caller too
        public = {(method, path) for method, path, operation in OPERATIONS if operation["security"] in open_to_all}
        assert said == guarded
        assert len(said | public) == len(OPERATIONS)

    def test_is_by_an_access_token(self) -> None:
        schemes: dict[str, Any] = DOCUMENT["components"]["securitySchemes"]
        assert {name: (scheme["type"], scheme["scheme"]) for name, scheme in schemes.items()} == {
            "bearerAuth": ("http", "bearer")
        }


class TestProblems:
    def test_are_how_every_operation_refuses(self) -> None:
        for method, path, operation in OPERATIONS:
            refusals = {
                status: answer for status, answer in operation["responses"].items() if not status.startswith("2")
            }
            problem = {"$ref": "#/components/responses/Problem"}
            assert refusals == {"4XX": problem, "5XX": problem}, (method, path)
        assert DOCUMENT["components"]["responses"]["Problem"]["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }
        assert not {"HTTPValidationError", "ValidationError"} & SCHEMAS.keys()

    def test_have_the_codes_of_the_catalogue(self) -> None:
        assert SCHEMAS["Problem"]["properties"]["code"]["$ref"] == "#/components/schemas/ProblemCode"
        assert set(SCHEMAS["ProblemCode"]["enum"]) == Problem.catalogue.keys()

    def test_have_the_members_that_the_document_names(self, service: Service) -> None:
        """HT4: `errors` with a 422 alone."""
        schema = SCHEMAS["Problem"]
        assert service.client.get("/v1/me").json().keys() == set(schema["required"])
        unfit = service.client.post("/v1/users", json={}).json()
        assert unfit.keys() == schema["properties"].keys()
        assert unfit["errors"][0].keys() == SCHEMAS["FieldError"]["properties"].keys()
