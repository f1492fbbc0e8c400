"""Finding users, and what is shown of them."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url

from app.admin import users
from app.records.migrate import configuration, upgrade
from app.records.models import User
from tests.security.observed import assert_problem
from tests.support.authenticator import enable
from tests.support.databases import SqliteDatabases, debian_postgresql
from tests.support.documents import ROOT, blocks
from tests.support.service import Device, Service, running_service

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def support(service: Service) -> Device:
    return service.staff("support", "desk@example.com")


@pytest.fixture(scope="module")
def debian() -> Iterator[str]:
    """The URL of an empty database of a PostgreSQL that has pg_trgm."""
    with debian_postgresql() as url:
        yield url


def administer(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def add(service: Service, *people: tuple[str, str | None], **columns: Any) -> list[str]:
    """Users by address and name, each a second younger than the one before; their ids."""
    rows = [
        {
            "id": uuid.uuid4(),
            "email": email,
            "email_key": email.lower(),
            "display_name": name,
            "status": "active",
            "role": "user",
            "created_at": START + timedelta(seconds=number),
            **columns,
        }
        for number, (email, name) in enumerate(people)
    ]
    service.runtime.platform.database.run("write", lambda session: session.execute(insert(User), rows) and None)
    return [str(row["id"]) for row in rows]


def found(device: Device, **parameters: Any) -> list[str]:
    answer = device.get("/v1/admin/users", params=parameters)
    assert answer.status_code == 200, answer.text
    return [item["email"] for item in answer.json()["items"]]


PEOPLE = (
    ("Ada.Lovelace@Example.org", "Ada, Countess"),
    ("grace@navy.mil", "Amazing Grace"),
    ("alan_t@bletchley.uk", "Prof"),
    ("alanXt@bletchley.uk", None),
    ("fifty%off@shop.example", 'Émilie "Du" Châtelet'),
    ("hypatia@alexandria.example", "Ὑπατία"),
)


def assert_finds_by_text(device: Device) -> None:
    for query, expected in (
        ("lovelace", ["Ada.Lovelace@Example.org"]),
        ("LOVELACE@exam", ["Ada.Lovelace@Example.org"]),
        ("countess", ["Ada.Lovelace@Example.org"]),
        ("grace", ["grace@navy.mil"]),
        ("bletchley", ["alanXt@bletchley.uk", "alan_t@bletchley.uk"]),
        ("n_t@", ["alan_t@bletchley.uk"]),
        ("y%o", ["fifty%off@shop.example"]),
        ("%%%", []),
        ("___", []),
        ('"Du"', ["fifty%off@shop.example"]),
        ("émilie", ["fifty%off@shop.example"]),
        ("ΠΑΤ", ["hypatia@alexandria.example"]),
        ("grace OR ada", []),
        ("'; --", []),
        ("/%_\\", []),
        ("nobody", []),
    ):
        assert found(device, query=query) == expected, query


@pytest.mark.both_databases
class TestSearch:
    def test_finds_any_piece_of_address_or_name(self, service: Service, support: Device) -> None:
        """HT12: in whatever case; wildcards, quotes and operators of either engine are characters like others."""
        add(service, *PEOPLE)
        assert_finds_by_text(support)

    def test_takes_one_or_two_characters_as_the_beginning_of_an_address(
        self, service: Service, support: Device
    ) -> None:
        add(service, *PEOPLE)
        assert found(support, query="AD") == ["Ada.Lovelace@Example.org"]
        assert found(support, query="g") == ["grace@navy.mil"]
        assert found(support, query="uk") == found(support, query="_") == found(support, query="%") == []

    def test_follows_what_changes(self, service: Service, support: Device) -> None:
        """The index of text is kept by the database itself."""
        device = service.device("before@example.org")
        device.patch("/v1/me", json={"display_name": "Rosalind"})
        assert found(support, query="rosalind") == ["before@example.org"]
        device.patch("/v1/me", json={"display_name": "Lise"})
        assert found(support, query="rosalind") == []
        assert found(support, query="lise") == ["before@example.org"]
        device.erase()
        assert found(support, query="before") == found(support, query="lise") == []

    def test_has_the_newest_first_a_page_at_a_time(self, service: Service, support: Device) -> None:
        add(service, *[(f"person{number}@many.example", None) for number in range(7)])
        seen, cursor = [], None
        while True:
            parameters = {"query": "many.example", "limit": 3} | ({"cursor": cursor} if cursor else {})
            page = support.get("/v1/admin/users", params=parameters).json()
            seen += [item["email"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            assert len(page["items"]) == 3
        assert seen == [f"person{number}@many.example" for number in reversed(range(7))]

    def test_loses_nobody_who_was_made_in_the_same_moment(self, service: Service, support: Device) -> None:
        ids = set(add(service, *[(f"twin{n}@many.example", None) for n in range(5)], created_at=START))
        seen, cursor = set(), ""
        for _ in range(3):
            page = support.get(f"/v1/admin/users?query=many.example&limit=2{cursor}").json()
            seen |= {item["id"] for item in page["items"]}
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == ids

    def test_narrows_by_status_role_and_age(self, service: Service, support: Device) -> None:
        add(service, ("off@example.org", None), status="disabled")
        add(service, ("root@example.org", None), role="admin")
        old = {"created_after": "2025-12-31T23:59:59Z", "query": "example.org"}
        assert found(support, status="disabled") == ["off@example.org"]
        assert found(support, role="admin") == ["root@example.org"]
        assert found(support, role="support", status="active") == ["desk@example.com"]
        assert found(support, role="admin", status="disabled") == []
        assert set(found(support, **old)) == {"off@example.org", "root@example.org"}
        assert found(support, **old | {"created_after": "2026-01-01T00:00:00Z"}) == []

    @pytest.mark.parametrize(
        "query",
        [
            *("status=gone", "role=root", "limit=0", "limit=201", "cursor=x", "created_after=yesterday"),
            "created_after=0.5",
            *("created_after=2026-01-01T00:00:00", "query=a%00b", "query=a%0Ab", f"query={'x' * 255}"),
        ],
    )
    def test_refuses_what_it_does_not_understand(self, service: Service, support: Device, query: str) -> None:
        assert_problem(support.get(f"/v1/admin/users?{query}"), 422, "invalid_request")


@pytest.mark.all
class TestTrigrams:
    def test_find_the_same_by_an_index(self, debian: str) -> None:
        administer(debian, "CREATE DATABASE able")
        url = debian.replace("/postgres?", "/able?")
        upgrade(url)
        command.check(configuration(url))
        administer(url, "ALTER DATABASE able SET enable_seqscan = off")
        with running_service(url) as service:
            support = service.staff("support", "desk@example.com")
            add(service, *PEOPLE)
            assert_finds_by_text(support)
            query = users._ACCOUNTS.where(users._matches("lovelace", on_sqlite=False)).with_only_columns(User.id)
            plan = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
            assert "ix_users_text" in str(service.sql(f"EXPLAIN {plan}".replace("%%", "%")))
        command.downgrade(configuration(url), "2026112402")
        upgrade(url)

    def test_may_be_made_later(self, debian: str) -> None:
        """By the statements of docs/operate/administration.md, where the migration could not."""
        administer(debian, "CREATE DATABASE later", "CREATE ROLE unprivileged LOGIN")
        url = debian.replace("/postgres?", "/later?")
        administer(url, "GRANT ALL ON SCHEMA public TO unprivileged")
        upgrade(url.replace("postgres@", "unprivileged@"))
        (code,) = [one.code for one in blocks(ROOT / "docs" / "operate" / "administration.md") if one.language == "sql"]
        administer(url, *filter(None, code.split(";\n")))
        with running_service(url) as service:
            assert service.sql("SELECT count(*) FROM pg_indexes WHERE indexname = 'ix_users_text'") == [(1,)]

    def test_are_left_out_where_the_extension_is_refused(self, debian: str) -> None:
        """The migration goes on without, and the query reads the table."""
        administer(debian, "CREATE DATABASE unable", "CREATE ROLE plain LOGIN")
        url = debian.replace("/postgres?", "/unable?")
        administer(url, "GRANT ALL ON SCHEMA public TO plain")
        url = url.replace("postgres@", "plain@")
        upgrade(url)
        with running_service(url) as service:
            assert service.sql("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'") == []
            support = service.staff("support", "desk@example.com")
            add(service, *PEOPLE)
            assert_finds_by_text(support)


class TestSqlite:
    def test_finds_the_right_ones_after_a_vacuum(self, sqlite_databases: SqliteDatabases, tmp_path: Path) -> None:
        """It may number the rows of `users` anew."""
        url = sqlite_databases.create(tmp_path)
        with running_service(url) as service:
            support = service.staff("support", "desk@example.com")
            add(service, *PEOPLE)
            service.sql("DELETE FROM users WHERE email = 'Ada.Lovelace@Example.org'")
            with closing(sqlite3.connect(make_url(url).database or "")) as connection:
                connection.execute("VACUUM")
            assert found(support, query="grace") == ["grace@navy.mil"]
            assert found(support, query="lovelace") == []
            assert service.sql("SELECT count(*) FROM users_text") == service.sql("SELECT count(*) FROM users")

    def test_users_of_before_are_found(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'old.db'}"
        command.upgrade(configuration(url), "2026112402")
        with running_service(url) as service:
            add(service, *PEOPLE)
        upgrade(url)
        with running_service(url) as service:
            assert_finds_by_text(service.staff("support", "desk@example.com"))


class TestUser:
    def test_is_shown_with_all_that_support_needs(self, service: Service, support: Device) -> None:
        device = service.device("ada@example.org")
        device.patch("/v1/me", json={"display_name": "Ada"})
        service.clock.advance(minutes=2)
        service.refresh(device.refresh_token)
        shown = support.get(f"/v1/admin/users/{device.user_id}").json()
        moments = shown.pop("created_at"), shown.pop("last_seen_at")
        assert moments[0] < moments[1] == service.clock.now().isoformat()[:19] + "Z"
        assert shown == {
            "id": device.user_id,
            "email": "ada@example.org",
            "email_verified": False,
            "display_name": "Ada",
            "status": "active",
            "role": "user",
            "guest": False,
            "locked_until": None,
            "prefix": f"users/{device.user_id}/",
            "mfa_enabled": False,
            "quota_bytes": None,
            "usage": {"bytes": 0, "objects": 0, "old_bytes": None, "quota_bytes": None, "counted_at": None},
        }
        enable(device)
        assert support.get(f"/v1/admin/users/{device.user_id}").json()["mfa_enabled"] is True
        assert found(support, query="ada@") == ["ada@example.org"]

    def test_without_a_session_was_never_seen(self, service: Service, support: Device) -> None:
        [user_id] = add(service, ("new@example.org", None))
        assert support.get(f"/v1/admin/users/{user_id}").json()["last_seen_at"] is None

    @pytest.mark.parametrize("path", ["", "/sessions", "/credentials"])
    def test_that_is_unknown_is_not_found(self, service: Service, support: Device, path: str) -> None:
        """AZ2: an id is a UUID."""
        assert_problem(support.get(f"/v1/admin/users/{uuid.uuid4()}{path}"), 404, "not_found")
        assert_problem(support.get(f"/v1/admin/users/1{path}"), 422, "invalid_request")


class TestDevices:
    def test_are_those_of_the_user(self, service: Service, support: Device) -> None:
        device, _other = service.device("ada@example.org"), service.device()
        page = support.get(f"/v1/admin/users/{device.user_id}/sessions").json()
        assert page["next_cursor"] is None
        [shown] = page["items"]
        assert shown.keys() == {"session_id", "device_name", "method", "created_at", "last_used_at"}
        assert (shown["session_id"], shown["method"]) == (device.session_id, "password")


class TestCredentials:
    def test_are_those_of_the_user_without_secrets(self, service: Service, support: Device) -> None:
        """AZ4: the user's own ledger, page by page."""
        device, other = service.device("ada@example.org"), service.device()
        for path in ("a/", "b/"):
            device.vend(path=path)
            service.clock.advance(seconds=1)
        other.vend()
        url = f"/v1/admin/users/{device.user_id}/credentials"
        first = support.get(f"{url}?limit=1").json()
        second = support.get(url, params={"limit": 1, "cursor": first["next_cursor"]}).json()
        assert second["next_cursor"] is None
        assert first["items"] + second["items"] == device.get("/v1/me/credentials").json()["items"]
        assert_problem(support.get(f"{url}?cursor=x"), 422, "invalid_request")
