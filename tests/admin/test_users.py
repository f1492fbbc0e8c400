"""Finding users, and what is shown of them."""

import base64
import json
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
from sqlalchemy import insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.admin import user_filters, users
from app.admin.user_filters import Filters
from app.records import counting
from app.records.migrate import configuration, upgrade
from app.records.models import User
from tests.security.observed import assert_problem
from tests.support.authenticator import enable
from tests.support.databases import PostgresDatabases, SqliteDatabases, debian_postgresql
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


def pages(device: Device, limit: int, **parameters: Any) -> list[str]:
    """All that is found, by pages of that size."""
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = device.get("/v1/admin/users", params={"limit": limit, **parameters, **cursor})
        assert answer.status_code == 200, answer.text
        seen += [item["id"] for item in answer.json()["items"]]
        if answer.json()["next_cursor"] is None:
            return seen
        assert len(answer.json()["items"]) == limit
        cursor = {"cursor": answer.json()["next_cursor"]}


def counted(device: Device, **parameters: Any) -> tuple[int, str]:
    answer = device.get("/v1/admin/user-count", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["total"], answer.json()["kind"]


@pytest.mark.both_databases
class TestOrder:
    @pytest.fixture
    def crowd(self, service: Service) -> list[str]:
        """Twelve users: every third is a guest, every fourth was never seen, and some were seen at the same moment."""
        rows = [
            {
                "id": uuid.UUID(int=number + 1 << 64, version=4),
                "email": None if number % 3 == 0 else f"{chr(122 - number)}@order.example",
                "email_key": None if number % 3 == 0 else f"{chr(122 - number)}@order.example",
                "email_verified_at": START if number % 3 == 1 else None,
                "guest": number % 3 == 0,
                "display_name": "Orderly",
                "status": "disabled" if number == 4 else "active",
                "role": "user",
                "created_at": START + timedelta(minutes=number // 2),
                "last_seen_at": None if number % 4 == 0 else START + timedelta(days=number // 3),
            }
            for number in range(12)
        ]
        service.runtime.platform.database.run("write", lambda session: session.execute(insert(User), rows) and None)
        return [str(row["id"]) for row in rows]

    def test_is_whole_under_each_sort_up_and_down(self, service: Service, support: Device, crowd: list[str]) -> None:
        rows = {user: number for number, user in enumerate(crowd)}
        keys: dict[str, Any] = {
            "created_at": lambda number: number // 2,
            "last_seen_at": lambda number: None if number % 4 == 0 else number // 3,
            "email": lambda number: None if number % 3 == 0 else chr(122 - number),
        }
        for sort, key in keys.items():
            for direction in ("asc", "desc"):
                down = direction == "desc"
                known = [user for user in crowd if key(rows[user]) is not None]
                known.sort(key=lambda user: (key(rows[user]), user), reverse=down)
                unknown = sorted((user for user in crowd if key(rows[user]) is None), reverse=down)
                for limit in (1, 5, 200):
                    parameters = {"query": "orderly", "sort": sort, "direction": direction}
                    assert pages(support, limit, **parameters) == known + unknown, (sort, direction, limit)

    def test_narrows_by_what_users_are_and_when_they_were_seen(
        self, service: Service, support: Device, crowd: list[str]
    ) -> None:
        """The count has the same filters, and so has each sort."""
        day = "2026-01-02T12:00:00Z"
        for parameters, expected in (
            ({"guest": "true"}, {0, 3, 6, 9}),
            ({"guest": "false"}, {1, 2, 4, 5, 7, 8, 10, 11}),
            ({"email_verified": "true"}, {1, 4, 7, 10}),
            ({"email_verified": "false"}, {2, 5, 8, 11}),
            ({"status": "disabled"}, {4}),
            ({"last_seen_before": day}, {0, 4, 8, 1, 2, 3, 5}),
            ({"last_seen_after": day}, {6, 7, 9, 10, 11}),
            ({"created_after": "2026-01-01T00:02:00Z", "created_before": "2026-01-01T00:04:00Z"}, {6, 7}),
            ({"guest": "true", "last_seen_before": day}, {0, 3}),
        ):
            given = {"query": "orderly", **parameters}
            for sort in ("created_at", "last_seen_at", *(() if parameters.get("guest") == "true" else ("email",))):
                found = pages(support, 2, sort=sort, **given)
                assert len(found) == len(expected), (parameters, sort)
                assert set(found) == {crowd[number] for number in expected}, (parameters, sort)
            assert counted(support, **given) == (len(expected), "exact")

    def test_narrows_by_second_factor(self, service: Service, support: Device) -> None:
        enable(service.device("ada@example.org"))
        service.device("bob@example.org")
        assert found(support, mfa_enabled="true", query="example.org") == ["ada@example.org"]
        assert found(support, mfa_enabled="false", query="example.org") == ["bob@example.org"]

    def test_follows_who_is_seen(self, service: Service, support: Device) -> None:
        """To the hour, because the user's row has many indexes."""
        ada, _bob = service.device("ada@example.org"), service.device("bob@example.org")

        def noted() -> list[Any]:
            return service.sql("SELECT last_seen_at FROM users WHERE email = 'ada@example.org'")

        order = {"sort": "last_seen_at", "query": "example.org"}
        first = noted()
        service.clock.advance(minutes=50)
        token = service.refresh(ada.refresh_token).json()["refresh_token"]
        assert noted() == first
        service.clock.advance(minutes=11)
        token = service.refresh(token).json()["refresh_token"]
        assert noted() != first
        support = service.device(support.email)  # the access token has expired
        assert found(support, **order) == ["ada@example.org", "bob@example.org"]
        assert found(support, **order, direction="asc") == ["bob@example.org", "ada@example.org"]
        seen = {"last_seen_after": (service.clock.now() - timedelta(minutes=1)).isoformat()}
        assert found(support, **order, **seen) == ["ada@example.org"]
        assert service.refresh(token).status_code == 200

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("last_seen_after=2026-02-01T00:00:00Z&last_seen_before=2026-01-01T00:00:00Z", "empty_range"),
            ("created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z", "empty_range"),
            ("guest=true&email_verified=false", "contradiction"),
            ("guest=true&sort=email", "contradiction"),
            ("status=erased&email_verified=true", "contradiction"),
        ],
    )
    def test_refuses_filters_that_nobody_fits(self, service: Service, support: Device, query: str, code: str) -> None:
        answer = support.get(f"/v1/admin/users?{query}")
        assert_problem(answer, 422, "invalid_request")
        assert answer.json()["errors"][0]["code"] == code
        if "sort" not in query:
            assert support.get(f"/v1/admin/user-count?{query}").json()["errors"] == answer.json()["errors"]

    def test_takes_no_cursor_of_another_order(self, service: Service, support: Device, crowd: list[str]) -> None:
        def cursor(**order: str) -> str:
            return str(support.get("/v1/admin/users", params={"limit": 2, **order}).json()["next_cursor"])

        by_address = cursor(sort="email", direction="asc")
        positions = (["email", False, "a\0", str(uuid.uuid4())], ["email", False, 5, "x"], ["email"], {}, 7, None)
        forged = [base64.urlsafe_b64encode(json.dumps(position).encode()).decode() for position in positions]
        for wrong in (cursor(), cursor(sort="email", direction="desc"), cursor(sort="last_seen_at"), "x", *forged):
            answer = support.get("/v1/admin/users", params={"sort": "email", "direction": "asc", "cursor": wrong})
            assert_problem(answer, 422, "invalid_request")
        for other in ("created_at", "last_seen_at"):
            answer = support.get("/v1/admin/users", params={"sort": other, "cursor": by_address})
            assert_problem(answer, 422, "invalid_request")


class TestCount:
    def test_is_about_where_there_are_very_many(
        self, service: Service, support: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(counting, "COUNTED", 2)
        add(service, *((f"n{number}@many.example", None) for number in range(5)))
        assert counted(support, query="many.example") == (2, "at_least")
        assert counted(support, query="n1@many.example") == (1, "exact")

    @pytest.mark.all
    def test_is_an_estimate_on_postgresql(
        self, postgres_databases: PostgresDatabases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of its statistics, whether the count would be too large or take too long."""
        with running_service(postgres_databases.create()) as service:
            support = service.staff("support", "desk@example.com")
            add(service, *((f"n{number}@many.example", None) for number in range(500)))
            service.sql("ANALYZE users")
            assert counted(support) == (501, "exact")
            monkeypatch.setattr(counting, "COUNTED", 2)
            total, kind = counted(support)
            assert (kind, 400 < total < 600) == ("estimate", True)
            monkeypatch.setattr(counting, "COUNTED", 10_000)
            monkeypatch.setattr(counting, "LIMIT", text("SET LOCAL statement_timeout = 50"))
            slow = text("SELECT 1 FROM pg_sleep(9)")
            monkeypatch.setattr(counting, "_count", lambda session, _rows: session.scalar(slow))
            total, kind = counted(support)
            assert (kind, 400 < total < 600) == ("estimate", True)


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
            query = users._ACCOUNTS.where(user_filters._matches("lovelace", on_sqlite=False)).with_only_columns(User.id)
            plan = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
            assert "ix_users_text" in str(service.sql(f"EXPLAIN {plan}".replace("%%", "%")))
        command.downgrade(configuration(url), "2026112402")
        upgrade(url)

    def test_no_plan_is_kept_for_all_texts(self, debian: str) -> None:
        """After ten searches a kept plan read all of a million users for a text that one of them has."""
        administer(debian, "CREATE DATABASE planned")
        url = debian.replace("/postgres?", "/planned?")
        upgrade(url)

        def prepared(session: Session) -> list[str]:
            for text_of_query in ("lovelace", None):
                for _ in range(12):
                    users.search(session, Filters(query=text_of_query), limit=10, cursor=None)
                    counting._count(
                        session, select(User.id).where(*Filters(query=text_of_query).conditions(on_sqlite=False))
                    )
            return list(session.scalars(text("SELECT statement FROM pg_prepared_statements")))

        with running_service(url) as service:
            kept = service.runtime.platform.database.run("write", prepared)
        assert [one for one in kept if "ILIKE" in one or "count(" in one] == []
        assert [one for one in kept if "FROM users" in one]  # a list without a search has one plan

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
            "import_id": None,
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
        assert shown.keys() == {"session_id", "device_name", "method", "created_at", "last_used_at", "last_address"}
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
