"""Every list of the console at the size of a million users: by plan, because a busy machine would fail a clock.

A slice runs in `make test-all`, where the planner is kept from reading small tables whole, and all of it in
`make test-long`.
"""

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url

from app.records import indexes
from tests.support.databases import PostgresDatabases
from tests.support.service import Device, Service, running_service

BIG = ("users", "audit_events", "sessions")
FULL, SLICE = (1_000_000, 5), (5_000, 5)
"""In full and in a slice: users, and audit events of each."""
MEASURE = "MEASURE" in os.environ
"""Prints how long each view takes, for docs/operate/administration.md."""
IMPORT = uuid.UUID(int=9, version=4)


def user_id(number: int) -> uuid.UUID:
    return uuid.UUID(hashlib.md5(f"u{number}".encode(), usedforsecurity=False).hexdigest())


LOAD = (
    # A fifth are guests, a tenth unverified, a hundredth disabled; a quarter were never seen.
    """
    INSERT INTO users (id, email, email_key, email_verified_at, display_name, guest, status, role, created_at,
                       last_seen_at, import_id)
    SELECT md5('u' || n)::uuid, address, address,
           CASE WHEN n % 5 <> 0 AND n % 10 <> 1 THEN '2026-01-01Z'::timestamptz END,
           CASE WHEN n % 3 <> 0 THEN 'Person ' || n END, n % 5 = 0,
           CASE WHEN n % 100 = 3 THEN 'disabled' ELSE 'active' END,
           'user', '2026-01-01Z'::timestamptz + n * interval '1 s',
           CASE WHEN n % 4 <> 1 THEN '2026-01-01Z'::timestamptz + n::bigint * 7919 % 31000000 * interval '1 s' END,
           CASE WHEN n % 50 = 7 THEN '{import_id}'::uuid END
    FROM (SELECT n, CASE WHEN n % 5 <> 0 THEN 'person' || n || '@many.example' END AS address
          FROM generate_series(0, {users} - 1) AS n) AS made
    """,
    """
    INSERT INTO audit_events (at, event, outcome, actor_id, subject_id, request_id, address, detail)
    SELECT '2026-01-01Z'::timestamptz + n * interval '1 s',
           ('{{session.started,credential.issued,session.ended,user.disabled,access.refused}}'::text[])[1 + n % 5],
           CASE WHEN n % 50 = 4 THEN 'refused' ELSE 'done' END, md5('u' || n % {users})::uuid,
           md5('u' || n::bigint * 7 % {users})::uuid, lpad(to_hex(n / 2), 32, '0'), '203.0.113.9', '{{}}'
    FROM generate_series(0, {events} - 1) AS n
    """,
    """
    INSERT INTO totp_factors (user_id, secret_encrypted, created_at, confirmed_at)
    SELECT id, ''::bytea, created_at, created_at FROM users WHERE display_name LIKE '%7' AND NOT guest
    """,
)


def load(url: str, users: int, events: int) -> None:
    """Indexes afterwards, by what `tokenvend migrate` makes them with."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        names = (
            "SELECT indexname FROM pg_indexes WHERE tablename IN ('users', 'audit_events') AND indexname LIKE 'ix_%%'"
        )
        for (name,) in connection.exec_driver_sql(names).all():
            connection.exec_driver_sql(f"DROP INDEX {name}")
        for statement in LOAD:
            filled = statement.format(users=users, events=events, import_id=IMPORT)
            connection.exec_driver_sql(filled.replace("%", "%%"))
    with engine.connect() as connection:
        indexes.make_missing(connection, shared=False)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE) users, audit_events, totp_factors")
    engine.dispose()


class Plans:
    """The plans of the statements that the service sends."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._sent: list[tuple[str, Any]] = []
        event.listen(service.runtime.platform.database.engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        self._sent.append((statement, parameters))

    def of(self, device: Device, path: str) -> list[str]:
        self._sent.clear()
        answer = device.get(path)
        assert answer.status_code == 200, (path, answer.text)
        sent = [
            one
            for one in self._sent
            if one[0].lstrip().startswith("SELECT") and any(f"FROM {t}" in one[0] for t in BIG)
        ]
        return [self._explain(*one) for one in sent]

    def _explain(self, statement: str, parameters: Any) -> str:
        with self._service.runtime.platform.database.engine.connect() as connection:
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).one()
        return json.dumps(plan)


@pytest.fixture
def crowd(request: pytest.FixtureRequest, postgres_databases: PostgresDatabases, in_full: bool) -> Iterator[Service]:
    users, each = FULL if in_full else SLICE
    url = postgres_databases.create()
    load(url, users, users * each)
    if not in_full:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {make_url(url).database} SET enable_seqscan = off")
        engine.dispose()
    with running_service(url) as service:
        yield service
    postgres_databases.drop(url)


LISTS = [
    *(f"sort={sort}&direction={way}" for sort in ("created_at", "last_seen_at", "email") for way in ("asc", "desc")),
    *("guest=true", "guest=false", "email_verified=true", "email_verified=false", "status=disabled", "role=admin"),
    *("mfa_enabled=true", "mfa_enabled=false", f"import_id={IMPORT}", "created_before=2026-01-01T00:01:00Z"),
    *("last_seen_before=2026-02-01T00:00:00Z", "last_seen_after=2026-12-24T00:00:00Z"),
    "last_seen_before=2026-02-01T00:00:00Z&sort=last_seen_at&direction=desc",
    "last_seen_before=2026-02-01T00:00:00Z&sort=email&email_verified=true&status=active",
    "status=disabled&sort=last_seen_at",
    "query=p",
]
AUDIT = [
    *("", "event=user.disabled", "outcome=refused", "event=session.started&outcome=refused"),
    *("after=2026-01-01T00:10:00Z&before=2026-01-01T00:20:00Z", f"request_id={7:032x}", f"person={user_id(7)}"),
    *(
        f"actor={user_id(7)}",
        f"subject={user_id(8)}",
        f"actor={user_id(7)}&event=session.ended",
        "person=person7@many.example",
    ),
]


@pytest.mark.all
def test_no_view_reads_a_big_table_whole(crowd: Service) -> None:
    """And neither does a later page, where a list has one."""
    support, plans = crowd.staff("support"), Plans(crowd)
    paths = [
        *(f"/v1/admin/users?{one}" for one in LISTS),
        *(f"/v1/admin/audit-events?{one}" for one in AUDIT),
        *(f"/v1/admin/users/{user_id(7)}{one}" for one in ("", "/sessions", "/credentials", "/audit-events")),
        *(f"/v1/admin/stats?window={one}" for one in ("1h", "24h", "30d")),
        "/v1/admin/user-count?status=disabled",
    ]
    whole: list[str] = []
    for path in paths:
        if MEASURE:
            print(f"{taken(support, path):6.0f} ms  {path}")
        whole += [path for plan in plans.of(support, path) if reads_whole(plan)]
        cursor = support.get(path).json().get("next_cursor")
        if cursor:
            whole += [f"{path}, page 2" for plan in plans.of(support, f"{path}&cursor={cursor}") if reads_whole(plan)]
    assert whole == []


def taken(support: Device, path: str) -> float:
    """The least of three, in ms."""
    times = []
    for _ in range(3):
        started_at = time.perf_counter()
        support.get(path)
        times.append(time.perf_counter() - started_at)
    return min(times) * 1000


def reads_whole(plan: str) -> bool:
    scanned = re.findall(r'"Node Type": "Seq Scan"[^}]*?"Relation Name": "(\w+)"', plan)
    return not set(scanned).isdisjoint(BIG)
