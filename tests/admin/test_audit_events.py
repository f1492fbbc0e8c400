"""The audit: nobody rewrites it, it is found by index however deep the page, and has one row for each thing done."""

import itertools
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.admin import audit_events
from app.admin.audit_events import Filters
from app.platform import cursors
from app.platform.clock import SystemClock
from app.records.audit import TABLE
from tests.security.observed import assert_problem
from tests.support.service import Device, Service

EVENTS = "/v1/admin/audit-events"
EXPORT = f"{EVENTS}/export"
Row = dict[str, Any]


def staff(service: Service, role: str = "admin") -> Device:
    device = service.device()
    service.sql("UPDATE users SET role = :role WHERE email = :email", role=role, email=device.email)
    return device


def write(service: Service, **changes: Any) -> None:
    row = {
        "at": service.clock.now(),
        "event": "session.started",
        "outcome": "done",
        "actor_id": None,
        "subject_id": None,
        "session_id": None,
        "request_id": "r",
        "address": "203.0.113.9",
        "detail": {},
    }
    with service.runtime.platform.database.engine.begin() as connection:
        connection.execute(insert(TABLE), [row | changes])


def pages(device: Device, path: str, cursor: str | None = None, **query: Any) -> list[Row]:
    items: list[Row] = []
    while True:
        answer = device.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return items


def lines(text: str) -> list[Row]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.both_databases
class TestAppendOnly:
    CHANGES = {
        "sqlite": "INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events",
        "postgresql": "TRUNCATE audit_events",
    }

    @pytest.mark.parametrize("change", ["UPDATE audit_events SET outcome = 'done'", "DELETE FROM audit_events", ""])
    @pytest.mark.parametrize("days", [0, 400])
    def test_the_database_refuses_every_change(self, service: Service, change: str, days: int) -> None:
        write(service, at=SystemClock().now() - timedelta(days=days))
        before = service.sql("SELECT * FROM audit_events")
        with pytest.raises(IntegrityError, match="append-only"):
            service.sql(change or self.CHANGES[service.runtime.platform.database.engine.dialect.name])
        assert service.sql("SELECT * FROM audit_events") == before

    @pytest.mark.parametrize("days", [0, 29])
    def test_not_even_pruning_touches_the_last_thirty_days(self, service: Service, days: int) -> None:
        write(service, at=SystemClock().now() - timedelta(days=days))
        before = service.sql("SELECT * FROM audit_events")
        with pytest.raises(IntegrityError, match="30 days"):
            service.runtime.platform.database.run("write", self.delete_all)
        assert service.sql("SELECT * FROM audit_events") == before

    def test_pruning_opens_no_way_for_what_comes_later(self, service: Service) -> None:
        write(service, at=SystemClock().now() - timedelta(days=31))

        def fail(session: Session) -> None:
            self.delete_all(session)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            service.runtime.platform.database.run("write", fail)
        with pytest.raises(IntegrityError, match="append-only"):
            service.sql("DELETE FROM audit_events")
        service.runtime.platform.database.run("write", self.delete_all)
        assert service.sql("SELECT count(*) FROM audit_events") == [(0,)]
        write(service, at=SystemClock().now() - timedelta(days=31))
        with pytest.raises(IntegrityError, match="append-only"):
            service.sql("DELETE FROM audit_events")

    @staticmethod
    def delete_all(session: Session) -> None:
        with audit_events.opened_for_pruning(session):
            session.execute(TABLE.delete())


@pytest.mark.both_databases
class TestList:
    def test_it_is_newest_first_and_says_all(self, service: Service) -> None:
        admin = staff(service)
        actor, subject, session = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        service.clock.advance(minutes=1)
        write(
            service,
            event="credential.issued",
            outcome="refused",
            actor_id=actor,
            subject_id=subject,
            session_id=session,
            request_id="ab12",
            detail={"reason": "disabled", "mfa": 1, "nothing": None},
        )
        items = admin.get(EVENTS).json()["items"]
        assert items[0] == {
            "id": items[0]["id"],
            "at": "2026-06-01T12:01:00Z",
            "event": "credential.issued",
            "outcome": "refused",
            "actor_id": str(actor),
            "subject_id": str(subject),
            "session_id": str(session),
            "request_id": "ab12",
            "address": "203.0.113.9",
            "detail": [
                {"name": "reason", "value": "disabled"},
                {"name": "mfa", "value": "1"},
                {"name": "nothing", "value": None},
            ],
            **dict.fromkeys(("actor_email", "actor_name", "subject_email", "subject_name")),
        }
        assert [item["event"] for item in items[1:3]] == ["session.started", "user.registered"]
        assert isinstance(items[0]["id"], str)

    def test_filters_find_what_they_say_and_nothing_else(self, service: Service) -> None:
        """Every combination, held to a plain loop over all rows."""
        admin = staff(service)
        people = [uuid.uuid4(), uuid.uuid4()]
        start = service.clock.now()
        for number in range(32):
            write(
                service,
                at=start + timedelta(minutes=number),
                event=("session.started", "credential.issued")[number & 1],
                outcome=("done", "refused")[number >> 1 & 1],
                actor_id=people[number >> 2 & 1],
                subject_id=people[number >> 3 & 1],
            )
        everything = pages(admin, EVENTS)
        after, before = "2026-06-01T12:05:00Z", "2026-06-01T14:25:00+02:00"
        checks: dict[str, tuple[Any, Callable[[Row], bool]]] = {
            "actor": (people[0], lambda row: row["actor_id"] == str(people[0])),
            "subject": (people[1], lambda row: row["subject_id"] == str(people[1])),
            "event": ("credential.issued", lambda row: row["event"] == "credential.issued"),
            "outcome": ("refused", lambda row: row["outcome"] == "refused"),
            "after": (after, lambda row: row["at"] >= after),
            "before": (before, lambda row: row["at"] < "2026-06-01T12:25:00Z"),
        }
        for size in range(len(checks) + 1):
            for chosen in itertools.combinations(checks, size):
                query = {name: str(checks[name][0]) for name in chosen}
                expected = [row for row in everything if all(checks[name][1](row) for name in chosen)]
                assert pages(admin, EVENTS, **query) == expected, chosen
                assert expected or size > 2

    def test_pages_go_on_where_the_last_one_ended(self, service: Service) -> None:
        """Also among rows of one moment, and while new ones come."""
        admin = staff(service)
        for _ in range(5):
            write(service)
        everything = pages(admin, EVENTS)
        first = admin.get(EVENTS, params={"limit": 3}).json()
        write(service)
        assert first["items"] + pages(admin, EVENTS, first["next_cursor"], limit=2) == everything

    @pytest.mark.parametrize(
        "query",
        [
            "cursor=x",
            "cursor=MjAyNi0wNi0wMVQxMjowMDowMCswMDowMCA5OTk5OTk5OTk5OTk5OTk5OTk5OQ==",
            "cursor=MjAyNi0wNi0wMVQxMjowMDowMCAx",
            "limit=0",
            "limit=201",
            "actor=1",
            "subject=me",
            "event=session.begun",
            "outcome=maybe",
            "after=yesterday",
            "after=0.5",
            "before=1e-5",
            "after=2026-06-01T12:00:00",
            "before=0001-01-01T00:00:00%2B14:00",
        ],
    )
    def test_a_query_that_makes_no_sense_is_a_422(self, service: Service, query: str) -> None:
        answer = staff(service).get(f"{EVENTS}?{query}")
        assert_problem(answer, 422, "invalid_request")
        assert query.partition("=")[0] in answer.json()["errors"][0]["location"]

    def test_support_reads_and_users_do_not(self, service: Service) -> None:
        """And the refusal has its own row."""
        support, user = staff(service, "support"), service.device()
        assert support.get(EVENTS).status_code == 200
        refused = user.get(EVENTS)
        assert_problem(refused, 403, "forbidden")
        row = support.get(EVENTS).json()["items"][0]
        assert (row["event"], row["outcome"], row["actor_id"]) == ("access.refused", "refused", user.user_id)
        assert row["request_id"] == refused.headers["X-Request-ID"]
        assert row["detail"] == [{"name": "reason", "value": "forbidden"}]


class TestOfUser:
    def test_it_is_about_that_user_alone(self, service: Service) -> None:
        support, ada, bob = staff(service, "support"), service.device(), service.device()
        items = pages(support, f"/v1/admin/users/{ada.user_id}/audit-events", limit=1)
        assert [item["event"] for item in items] == ["session.started", "user.registered"]
        assert {item["subject_id"] for item in items} == {ada.user_id}
        filtered = pages(support, f"/v1/admin/users/{bob.user_id}/audit-events", event="user.registered")
        assert [item["subject_id"] for item in filtered] == [bob.user_id]

    def test_an_erased_user_keeps_theirs_and_a_stranger_is_a_404(self, service: Service) -> None:
        support, ada = staff(service, "support"), service.device()
        assert ada.erase().status_code == 202
        assert "user.erasure_requested" in {
            item["event"] for item in pages(support, f"/v1/admin/users/{ada.user_id}/audit-events")
        }
        assert_problem(support.get(f"/v1/admin/users/{uuid.uuid4()}/audit-events"), 404, "not_found")


@pytest.mark.both_databases
class TestPeople:
    def test_are_found_by_address_as_actor_subject_or_either(self, service: Service) -> None:
        """Whole, however small the pages, each event once."""
        support, ada, bob = staff(service, "support"), service.device("ada@example.org"), service.device()
        ada.patch("/v1/me", json={"display_name": "Ada"})
        start = service.clock.now()
        for number in range(24):
            whom = [uuid.UUID(ada.user_id), uuid.UUID(bob.user_id), None]
            actor, subject = whom[number % 3], whom[number // 3 % 3]
            at = start + timedelta(minutes=1 + number // 5)
            write(service, at=at, actor_id=actor, subject_id=subject, event="password.changed")
        everything = [row for row in pages(support, EVENTS) if row["event"] == "password.changed"]
        for parameters, members in (
            ({"actor_email": "ada@example.org"}, ("actor_id",)),
            ({"subject_email": "ADA@Example.org"}, ("subject_id",)),
            ({"person": "ada@example.org"}, ("actor_id", "subject_id")),
            ({"person": ada.user_id}, ("actor_id", "subject_id")),
        ):
            expected = [row for row in everything if ada.user_id in {row[member] for member in members}]
            for limit in (2, 200):
                assert pages(support, EVENTS, limit=limit, event="password.changed", **parameters) == expected
        named = expected[0]
        who = {named["actor_id"]: named["actor_name"], named["subject_id"]: named["subject_name"]}
        assert who[ada.user_id] == "Ada"
        assert all(row["actor_email"] == "ada@example.org" for row in expected if row["actor_id"] == ada.user_id)

    def test_who_are_erased_stay_nameless(self, service: Service) -> None:
        support, ada = staff(service, "support"), service.device("ada@example.org")
        ada.erase()
        rows = pages(support, EVENTS, person=ada.user_id)
        assert len(rows) > 1
        assert {row["subject_email"] for row in rows} == {row["subject_name"] for row in rows} == {None}
        assert "ada@" not in support.get(EVENTS).text

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("person=nobody@example.org", "no_such_user"),
            ("actor_email=no-address", "no_such_user"),
            (f"person=a@example.org&actor={uuid.UUID(int=7)}", "contradiction"),
            (f"subject={uuid.UUID(int=7)}&subject_email=a@example.org", "contradiction"),
        ],
    )
    def test_who_do_not_exist_are_refused(self, service: Service, query: str, code: str) -> None:
        admin = staff(service)
        for path in (EVENTS, EXPORT):
            answer = admin.get(f"{path}?{query}")
            assert_problem(answer, 422, "invalid_request")
            assert answer.json()["errors"][0]["code"] == code
        assert not pages(admin, EVENTS, event="audit.exported")

    def test_one_request_leads_to_all_it_did(self, service: Service) -> None:
        """OP2: the id that answer, log and audit share."""
        support, ada = staff(service, "support"), service.device()
        answer = ada.put(
            "/v1/me/password", json={"current_password": "wrong", "new_password": "another tractor at dawn"}
        )
        request_id = answer.headers["X-Request-ID"]
        (row,) = pages(support, EVENTS, request_id=request_id)
        assert (row["actor_id"], row["outcome"], row["request_id"]) == (ada.user_id, "refused", request_id)
        assert pages(support, EVENTS, request_id="0" * 32) == []


@pytest.mark.both_databases
class TestExport:
    def test_it_is_the_list_line_by_line_and_tells_of_itself(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.admin.audit_events.PAGE", 3)
        admin = staff(service)
        for _ in range(7):
            write(service)
        answer = admin.get(EXPORT)
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        exported = lines(answer.text)
        assert exported == [{name: row[name] for name in exported[0]} for row in pages(admin, EVENTS)]
        assert not {name for name in exported[0] if name.endswith(("_email", "_name"))}  # the file may outlive people
        assert (exported[0]["event"], exported[0]["actor_id"]) == ("audit.exported", admin.user_id)
        assert [row["event"] for row in exported].count("audit.exported") == 1

    def test_it_takes_the_same_filters_and_notes_them(self, service: Service) -> None:
        admin, ada = staff(service), service.device()
        answer = admin.get(EXPORT, params={"subject": ada.user_id, "event": "user.registered"})
        (row,) = lines(answer.text)
        assert (row["subject_id"], row["event"]) == (ada.user_id, "user.registered")
        note = admin.get(EVENTS, params={"event": "audit.exported"}).json()["items"][0]
        assert note["subject_id"] == ada.user_id
        assert {"name": "of_event", "value": "user.registered"} in note["detail"]

    def test_it_holds_one_page_at_a_time(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many there are: no statement asks for more than a page and one."""
        monkeypatch.setattr("app.admin.audit_events.PAGE", 4)
        admin = staff(service)
        for _ in range(30):
            write(service)
        fetched: list[int] = []
        whole = audit_events.list_events

        def counted(*args: Any, **kwargs: Any) -> Any:
            rows, cursor = whole(*args, **kwargs)
            fetched.append(len(rows))
            return rows, cursor

        monkeypatch.setattr(audit_events, "list_events", counted)
        assert len(lines(admin.get(EXPORT).text)) == sum(fetched) >= 33
        assert max(fetched) == 4

    def test_it_is_for_administrators(self, service: Service) -> None:
        assert_problem(staff(service, "support").get(EXPORT), 403, "forbidden")
        assert service.sql("SELECT count(*) FROM audit_events WHERE event = 'audit.exported'") == [(0,)]


PEOPLE = [uuid.UUID(int=number) for number in range(100)]
MANY = 20_002
"""Ten thousand pages of two, and one."""
DIMENSIONS = ("actor", "subject", "event", "refused", "done", "time")
COMBINATIONS = [
    chosen
    for size in range(len(DIMENSIONS))
    for chosen in itertools.combinations(DIMENSIONS, size)
    if not {"refused", "done"} <= set(chosen)
]


@pytest.mark.all
@pytest.mark.both_databases
class TestPlans:
    """On a table of which every filter takes a part; by plans and counted rows, never by time."""

    @pytest.fixture
    def crowded(self, service: Service) -> Service:
        start = service.clock.now()
        rows = [
            {
                "at": start + timedelta(seconds=number // 2),
                "event": ("credential.issued", "session.started", "session.ended")[number % 3],
                "outcome": "refused" if number % 10 == 0 else "done",
                "actor_id": PEOPLE[number % 100],
                "subject_id": PEOPLE[number // 7 % 100],
                "session_id": None,
                "request_id": "r",
                "address": "a",
                "detail": {},
            }
            for number in range(MANY)
        ]
        with service.runtime.platform.database.engine.begin() as connection:
            connection.execute(insert(TABLE), rows)
        service.sql("ANALYZE audit_events")
        return service

    def test_every_combination_of_filters_is_an_index_look_up(self, crowded: Service) -> None:
        """On the first page and in the middle: no table is read from end to end."""
        start = crowded.clock.now()
        middle = cursors.encode(start + timedelta(minutes=90), 7)
        for chosen in COMBINATIONS:
            filters = Filters(
                actor_id=PEOPLE[3] if "actor" in chosen else None,
                subject_id=PEOPLE[5] if "subject" in chosen else None,
                event="session.ended" if "event" in chosen else None,
                outcome="refused" if "refused" in chosen else "done" if "done" in chosen else None,
                after=start + timedelta(hours=1) if "time" in chosen else None,
                before=start + timedelta(hours=2) if "time" in chosen else None,
            )
            for cursor in (None, middle):
                plan = explain(crowded, filters, cursor)
                assert "ix_audit_events_" in plan, (chosen, plan)
                assert "Seq Scan" not in plan, (chosen, plan)
                if len(chosen) < 2:
                    assert "Sort" not in plan, (chosen, plan)
                    assert "TEMP B-TREE" not in plan, (chosen, plan)

    @pytest.mark.parametrize("filters", [Filters(), Filters(outcome="done"), Filters(event="session.ended")], ids=str)
    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite does not count what it reads
    def test_page_ten_thousand_costs_what_the_first_costs(self, crowded: Service, filters: Filters) -> None:
        """By the rows and the buffers that PostgreSQL read for either."""
        deep = cursors.encode(crowded.clock.now() + timedelta(seconds=150), 300)
        first, last = (cost(crowded, filters, cursor) for cursor in (None, deep))
        assert max(first[0], last[0]) <= 10
        assert last[1] <= first[1] * 1.2 + 1


def statement_of(service: Service, filters: Filters, cursor: str | None) -> tuple[str, Any]:
    """The very statement that a page takes."""
    engine, found = service.runtime.platform.database.engine, []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if not statement.startswith("BEGIN"):
            found.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", keep)
    try:
        service.runtime.platform.database.run("read", audit_events.list_events, filters, limit=2, cursor=cursor)
    finally:
        event.remove(engine, "before_cursor_execute", keep)
    ((statement, parameters),) = found
    return statement, parameters


def explain(service: Service, filters: Filters, cursor: str | None) -> str:
    statement, parameters = statement_of(service, filters, cursor)
    engine = service.runtime.platform.database.engine
    word = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with engine.connect() as connection:
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{word} {statement}", parameters))


def cost(service: Service, filters: Filters, cursor: str | None) -> tuple[int, int]:
    """Rows that were looked at and buffers that were read, once all of them are in memory."""
    statement, parameters = statement_of(service, filters, cursor)
    with service.runtime.platform.database.engine.connect() as connection:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}"
        limit = connection.exec_driver_sql(explained, parameters).scalar_one()[0]["Plan"]
    (scan,) = limit["Plans"]
    assert "Index" in scan["Node Type"]
    rows = int(scan["Actual Rows"]) + int(scan.get("Rows Removed by Filter", 0))
    return rows, limit["Shared Hit Blocks"] + limit["Shared Read Blocks"]
