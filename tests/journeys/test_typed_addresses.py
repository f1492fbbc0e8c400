"""Wherever people type an e-mail address, what stands around it is no part of it: a phone's keyboard adds a space."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from app.admin.formats import CSV, JSON, LDIF, NDJSON, SOURCES, SourceName, user_of
from app.admin.formats.rows import ImportedUser
from app.cli import commands
from app.platform.settings import Settings
from app.records import addresses
from tests.support.outside import guest
from tests.support.service import PASSWORD, SECRET_KEY, Service
from tests.support.service import test_settings as settings_of

ADDRESS = "ada@example.org"
MARGINS = [" ", "\t", "\n", "\r\n", "\u00a0", "\u2009", "\u3000", "\u0085", "\u2028", "\ufeff", "\u200b", "\u200e"]
MARGINS += ["\u200f", "\u061c", "\u202a", "\u202c", "\u2068", "\u2069", " \u200f\u00a0\n"]
TYPED = f" \u2068{ADDRESS.upper()}\u2069\u00a0\n"


@pytest.mark.parametrize("margin", MARGINS, ids=ascii)
def test_a_margin_is_no_part_of_an_address(margin: str) -> None:
    """HT5"""
    for text in (f"{margin}{ADDRESS}", f"{ADDRESS}{margin}", f"{margin}{ADDRESS}{margin}"):
        assert addresses.find(text) == addresses.find(ADDRESS)
    assert addresses.find(f"a{margin}da@example.org") is None
    assert addresses.find(f"ada{margin}@example.org") is None


@pytest.mark.parametrize("typed", ["ada\uff20example.org", "\uff41\uff44\uff41@example.org", "ada@example\uff0eorg"])
def test_full_width_letters_are_those_of_ascii(typed: str) -> None:
    """HT5: mail goes to what the person has, not to what the keyboard made of it (logaretm/vee-validate#2339)."""
    assert addresses.find(typed) == addresses.find(ADDRESS)
    assert addresses.find(typed + "\uff0cbob@example.org") is None
    assert addresses.find("\uff1cada@example.org\uff1e") is None


def _register(service: Service) -> None:
    assert service.register(TYPED).status_code == 201
    assert service.log_in(ADDRESS).status_code == 200


def _sign_in(service: Service) -> None:
    service.register(ADDRESS)
    assert service.log_in(TYPED).status_code == 200


def _verify(service: Service) -> None:
    service.register(ADDRESS)
    assert service.client.post("/v1/email-verifications", json={"email": TYPED}).status_code == 202
    assert len(service.mails(ADDRESS)) == 1


def _reset(service: Service) -> None:
    service.register(ADDRESS)
    assert service.client.post("/v1/password-resets", json={"email": TYPED}).status_code == 202
    assert len(service.mails(ADDRESS)) == 1


def _change(service: Service) -> None:
    device = service.device("old@example.org")
    assert device.post("/v1/me/email", {"new_email": TYPED, "password": PASSWORD}).status_code == 202
    assert len(service.mails(ADDRESS.upper().replace("EXAMPLE.ORG", "example.org"))) == 1


def _upgrade(service: Service) -> None:
    assert guest(service).post("/v1/me/upgrade", {"email": TYPED, "password": PASSWORD}).status_code == 200
    assert service.log_in(ADDRESS).status_code == 200


def _grant(service: Service) -> None:
    service.register(ADDRESS)
    owner = service.device("owner@example.org")
    answer = owner.post("/v1/grants", {"grantee_email": TYPED, "path": "albums/"})
    assert answer.status_code == 201, answer.text
    assert addresses.find(answer.json()["grantee_email"]) == addresses.find(ADDRESS.upper())


def _invite(service: Service) -> None:
    answer = service.staff().post("/v1/admin/users", {"email": TYPED})
    assert answer.status_code == 201, answer.text
    assert answer.json()["email"].lower() == ADDRESS


def _change_for_a_user(service: Service) -> None:
    user = service.device("old@example.org")
    path = f"/v1/admin/users/{user.user_id}/email"
    answer = service.staff().post(path, {"new_email": TYPED, "reason": "They asked by letter."})
    assert answer.status_code == 200, answer.text
    assert answer.json()["email"].lower() == ADDRESS


def _search(service: Service) -> None:
    service.register(ADDRESS)
    found = service.staff().get("/v1/admin/users", params={"query": f" {ADDRESS}\u00a0"})
    assert [user["email"] for user in found.json()["items"]] == [ADDRESS]


OPERATIONS: dict[tuple[str, str], Callable[[Service], None]] = {
    ("register_user", "email"): _register,
    ("log_in", "email"): _sign_in,
    ("request_email_verification", "email"): _verify,
    ("request_password_reset", "email"): _reset,
    ("request_email_change", "new_email"): _change,
    ("upgrade_guest", "email"): _upgrade,
    ("create_grant", "grantee_email"): _grant,
    ("create_user", "email"): _invite,
    ("change_user_email", "new_email"): _change_for_a_user,
    ("list_users", "query"): _search,
}


def _members(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name, member in schema.get("properties", {}).items():
        yield name
        yield from _members(document, member)
    for other in schema.get("anyOf", []):
        yield from _members(document, other)


class TestOperations:
    @pytest.mark.parametrize(("operation", "member"), OPERATIONS)
    def test_take_an_address_as_it_is_typed(self, service: Service, operation: str, member: str) -> None:
        """HT5"""
        OPERATIONS[operation, member](service)

    def test_are_all_that_take_one(self, service: Service) -> None:
        document = service.app.openapi()
        found = {
            (operation["operationId"], member)
            for methods in document["paths"].values()
            for operation in methods.values()
            for body in operation.get("requestBody", {}).get("content", {}).values()
            for member in _members(document, body["schema"])
            if "email" in member
        }
        assert found == {(operation, member) for operation, member in OPERATIONS if member != "query"}


ROWS: dict[SourceName, tuple[str, bytes]] = {
    "tokenvend": (NDJSON, json.dumps({"email": TYPED}).encode()),
    "cognito": (CSV, f'email,email_verified\n"{TYPED}",true\n'.encode()),
    "firebase": (JSON, json.dumps({"users": [{"email": TYPED}]}).encode()),
    "supabase": (CSV, f'id,email\n1,"{TYPED}"\n'.encode()),
    "auth0": (NDJSON, json.dumps({"email": TYPED}).encode()),
    "clerk": (CSV, f'id,primary_email_address\nuser_1,"{TYPED}"\n'.encode()),
    "django": (JSON, json.dumps([{"model": "auth.user", "pk": 1, "fields": {"email": TYPED}}]).encode()),
    "keycloak": (JSON, json.dumps({"realm": "photos", "users": [{"email": TYPED}]}).encode()),
    "parse": (NDJSON, json.dumps({"email": TYPED}).encode()),
    "appwrite": (JSON, json.dumps({"total": 1, "users": [{"email": TYPED}]}).encode()),
    "kratos": (JSON, json.dumps([{"traits": {"email": TYPED}}]).encode()),
    "ldif": (LDIF, b"dn: uid=ada\nmail:: " + base64.b64encode(TYPED.encode()) + b"\n"),
}


class TestImports:
    def test_are_all_sources(self) -> None:
        assert ROWS.keys() == SOURCES.keys()

    @pytest.mark.parametrize("source", ROWS)
    def test_take_an_address_as_it_is_typed(self, source: SourceName) -> None:
        form, data = ROWS[source]
        [user] = [user_of(SOURCES[source], record) for record in SOURCES[source].readers[form](io.BytesIO(data))]
        assert isinstance(user, ImportedUser)
        assert user.address == addresses.find(ADDRESS.upper())


class TestCommands:
    @pytest.fixture
    def settings(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
        monkeypatch.setenv("TOKENVEND_DATABASE_URL", database_url)
        monkeypatch.setenv("TOKENVEND_SECRET_KEY", SECRET_KEY)
        return settings_of(database_url=database_url)

    def test_take_an_address_as_it_is_typed(self, settings: Settings) -> None:
        run = CliRunner().invoke
        made = run(commands.cli, ["admin", "create", "--email", TYPED, "--password-stdin"], input=f"{PASSWORD}\n")
        assert made.exit_code == 0, made.output
        assert ADDRESS.upper().replace("EXAMPLE.ORG", "example.org") in made.output
        unlocked = run(commands.cli, ["users", "unlock", TYPED, "--reason", "asked by phone"])
        assert unlocked.exit_code == 0, unlocked.output
