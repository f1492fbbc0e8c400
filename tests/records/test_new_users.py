"""Users who are added many at once: each once, whatever their names hold and whoever adds the same meanwhile."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.platform.problems import DatabaseUnavailable
from app.records import new_users
from app.records.new_users import NewUser
from tests.support.service import Service

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
IMPORT_ID = uuid.UUID(int=4)
NAMES = [
    None,
    "Ada",
    "a\\tb",
    "\\N",
    "\\.",
    "back\\slash",
    "tab\tand\nline\r",
    "Žofie 👩‍👩‍👧",
    "'; DROP TABLE users; --",
    '{a,"b"}',
]


def new(email: str, **other: Any) -> NewUser:
    given = {
        "id": uuid.uuid4(),
        "email": email,
        "email_key": email.lower(),
        "email_verified_at": None,
        "display_name": None,
        "password_hash": None,
        "password_from": None,
        "status": "active",
        "created_at": NOW,
    }
    return NewUser(**{**given, **other})


def add(service: Service, *users: NewUser) -> list[uuid.UUID]:
    def story(session: Session) -> Sequence[uuid.UUID]:
        return new_users.add(session, IMPORT_ID, users)

    return list(service.runtime.platform.database.run("write", story))


def stored(service: Service) -> list[Any]:
    columns = "email, email_verified_at, display_name, password_hash, password_from, guest, status, role, created_at"
    return [tuple(row) for row in service.sql(f"SELECT {columns} FROM users ORDER BY email")]


@pytest.mark.both_databases
class TestAdd:
    def test_stores_each_as_it_is(self, service: Service) -> None:
        users = [new(f"user{at}@example.org", display_name=name) for at, name in enumerate(NAMES)]
        users[1] = users[1]._replace(email_verified_at=NOW, password_hash="$2b$…", created_at=NOW - timedelta(days=9))
        users[2] = users[2]._replace(status="disabled", password_from="cognito")
        assert sorted(add(service, *users)) == sorted(user.id for user in users)
        rows = stored(service)
        assert [row[2] for row in rows] == NAMES
        assert rows[1][1] is not None
        assert rows[1][3:5] == ("$2b$…", None)
        assert rows[1][8] != rows[0][8]
        assert rows[2][4:] == ("cognito", False, "disabled", "user", rows[0][8])
        assert service.sql("SELECT count(*) FROM users WHERE import_id IS NULL")[0][0] == 0

    def test_leaves_out_an_address_that_is_taken(self, service: Service) -> None:
        service.register("grace@example.org")
        ada = new("ada@example.org", display_name="first")
        users = [new("Grace@example.org"), ada, new("ADA@example.org"), new("alan@example.org")]
        assert sorted(add(service, *users)) == sorted([ada.id, users[3].id])
        assert add(service, new("alan@example.org")) == []
        assert add(service) == []
        assert [row[0] for row in stored(service)] == ["ada@example.org", "alan@example.org", "grace@example.org"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestCopy:
    """SQLite has none."""

    def test_leaves_out_whom_another_adds_meanwhile(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address, or an id, that was free when it was looked up."""
        grace = new("grace@example.org")
        assert add(service, grace) == [grace.id]
        monkeypatch.setattr(new_users, "_fresh", lambda _connection, users: users)
        ada = new("ada@example.org", display_name="a\\tb\n")
        users = [ada, new("grace@example.org"), new("alan@example.org", id=grace.id)]
        assert add(service, *users) == [ada.id]
        assert [row[:3] for row in stored(service)] == [
            ("ada@example.org", None, "a\\tb\n"),
            ("grace@example.org", None, None),
        ]

    def test_a_fault_of_the_database_is_an_outage(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(new_users, "_COPY", b"COPY nowhere FROM STDIN")
        with pytest.raises(DatabaseUnavailable):
            add(service, new("ada@example.org"))
        assert stored(service) == []
