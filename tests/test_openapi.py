"""The OpenAPI document: what clients are generated from says what the service does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from app.main import create_api
from tests.support.databases import SqliteDatabases
from tests.support.service import Service, running_service

DOCUMENT = create_api().openapi()
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


@pytest.fixture
def service(sqlite_databases: SqliteDatabases, tmp_path: Path) -> Iterator[Service]:
    with running_service(sqlite_databases.create(tmp_path)) as running:
        yield running


def test_is_valid() -> None:
    validate(DOCUMENT)


class TestSignIn:
    def test_is_asked_for_where_the_document_says_so(self, service: Service) -> None:
        """Whoever sends nothing is told to sign in by these routes, and by no other."""
        guarded = set()
        for method, path, _ in OPERATIONS:
            answer = service.client.request(method, path.replace("{", "").replace("}", ""))
            if answer.status_code == 401 and answer.json()["code"] == "unauthenticated":
                guarded.add((method, path))
        said = {(method, path) for method, path, operation in OPERATIONS if "security" in operation}
        assert said == guarded

    def test_is_by_an_access_token(self) -> None:
        schemes: dict[str, Any] = DOCUMENT["components"]["securitySchemes"]
        assert {name: (scheme["type"], scheme["scheme"]) for name, scheme in schemes.items()} == {
            "access_token": ("http", "bearer")
        }


class TestProblems:
    def test_are_how_every_operation_refuses(self) -> None:
        for method, path, operation in OPERATIONS:
            assert operation["responses"]["default"]["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }, (method, path)
            assert "422" not in operation["responses"], (method, path)
        assert not {"HTTPValidationError", "ValidationError"} & DOCUMENT["components"]["schemas"].keys()

    def test_have_the_members_that_the_document_names(self, service: Service) -> None:
        """HT4: `errors` with a 422 alone."""
        schema = DOCUMENT["components"]["schemas"]["Problem"]
        assert service.client.get("/v1/me").json().keys() == set(schema["required"])
        unfit = service.client.post("/v1/users", json={}).json()
        assert unfit.keys() == schema["properties"].keys()
        assert unfit["errors"][0].keys() == DOCUMENT["components"]["schemas"]["FieldError"]["properties"].keys()
