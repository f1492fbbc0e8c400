"""How sessions end: the least used of too many, and all of a user at once, whatever their number."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.auth import endings, rotation
from app.auth.endings import LOOKED_AT, MOST
from app.records.audit import COMMAND_LINE
from app.records.models import User
from tests.security.observed import assert_problem
from tests.security.races import CROWD, all_at_once
from tests.support.accounts import add_sessions, add_signed_in
from tests.support.engine import eventually
from tests.support.service import PASSWORD, Device, Service

EMAIL = "ada@example.org"
NEW = "another tractor at dawn"
FAR_MORE = 250
"""Sessions of a user from before they were bounded."""


def alive(service: Service) -> int:
    joined = "FROM sessions s JOIN users u ON u.id = s.user_id"
    rows = service.sql(f"SELECT count(*) {joined} WHERE s.ended_at IS NULL AND s.session_epoch = u.session_epoch")
    return int(rows[0][0])


def on_record(service: Service) -> list[tuple[str, str]]:
    """The sessions whose end is on record, and why."""
    rows = service.sql("SELECT session_id, detail FROM audit_events WHERE event = 'session.ended' ORDER BY id")
    return [(str(UUID(str(session_id))), str(detail)) for session_id, detail in rows]


def settle(service: Service) -> None:
    while service.runtime.platform.database.run("write", endings.settle):
        pass


def refused(device: Device) -> None:
    """Whatever an ended session asks for."""
    assert_problem(device.get("/v1/me"), 401, "invalid_token")
    assert_problem(device.vend(), 401, "invalid_token")
    assert_problem(device.post("/v1/auth/step-up", {"password": PASSWORD}), 401, "invalid_token")
    assert_problem(device.delete("/v1/me/sessions"), 401, "invalid_token")
    assert_problem(device.service.refresh(device.refresh_token), 401, "invalid_refresh_token")


@pytest.mark.both_databases
class TestTooMany:
    def test_one_more_ends_the_least_recently_used(self, service: Service) -> None:
        """TK21: with its credentials, and on record; the oldest stays where it was used since."""
        oldest = service.device(EMAIL)
        least = service.device(EMAIL)
        assert least.vend().status_code == 200
        add_sessions(least, MOST - 2)
        service.clock.advance(minutes=1)
        refreshed = service.refresh(oldest.refresh_token).json()
        oldest.access_token, oldest.refresh_token = refreshed["access_token"], refreshed["refresh_token"]
        newest = service.device(EMAIL)
        assert alive(service) == MOST
        refused(least)
        assert oldest.get("/v1/me").status_code == newest.get("/v1/me").status_code == 200
        [(session_id, detail)] = on_record(service)
        assert session_id == least.session_id
        assert "too_many" in detail
        [(revoked_at,)] = service.sql("SELECT revoked_at FROM issued_credentials")
        assert revoked_at is not None

    def test_another_way_in_counts_too(self, service: Service) -> None:
        """TK21: a session that waited for its second factor."""
        device = service.device(EMAIL)
        add_sessions(device, MOST - 1)
        user = UUID(device.user_id)

        def start(session: Session) -> None:
            session.get_one(User, user, with_for_update=True)
            endings.make_room(session, COMMAND_LINE, service.clock.now(), user_id=user)

        service.runtime.platform.database.run("write", start)
        assert alive(service) == MOST - 1

    def test_ended_ones_take_no_room(self, service: Service) -> None:
        device = service.device(EMAIL)
        add_sessions(device, MOST + 20, ended_at=service.clock.now(), end_reason="logout")
        service.device(EMAIL)
        assert alive(service) == 2
        assert on_record(service) == []

    def test_of_far_more_as_many_end_as_a_sign_in_looks_at(self, service: Service) -> None:
        """Those from before they were bounded: no sign-in pays for all of them."""
        device = service.device(EMAIL)
        add_sessions(device, LOOKED_AT + FAR_MORE)
        before = alive(service)
        service.device(EMAIL)
        assert alive(service) == before + 1 - (LOOKED_AT - MOST + 1)
        service.device(EMAIL)
        service.device(EMAIL)
        assert alive(service) == MOST

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_of_many_at_once_no_more_stay(self, service: Service) -> None:
        """TK21: the user is locked while room is made and a session begins."""
        device = service.device(EMAIL)
        add_sessions(device, MOST - 11)
        assert all_at_once(lambda _: service.log_in(EMAIL).status_code) == [200] * CROWD
        assert alive(service) == MOST

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_room_is_made_by_an_index_of_those_alive(self, service: Service) -> None:
        """TK21: however many have ended, and whatever PostgreSQL knows of the table."""
        device = service.device(EMAIL)
        add_sessions(device, 5_000, ended_at=service.clock.now())
        add_sessions(device, 5_000, session_epoch=-1)
        service.sql("ANALYZE sessions")
        service.sql("SELECT pg_stat_reset()")
        service.device(EMAIL)
        read = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables "

        def rows_read() -> int:
            return int(service.sql(read + "WHERE relname = 'sessions'")[0][0])

        service.runtime.platform.database.engine.dispose()  # a connection leaves what it counted behind when it ends
        assert eventually(lambda: rows_read() > 0)
        assert rows_read() < 20


ACTS: dict[str, Callable[[Device], Any]] = {
    "sign_out": lambda device: device.delete("/v1/me/sessions"),
    "password_changed": lambda device: device.put(
        "/v1/me/password", {"current_password": PASSWORD, "new_password": NEW}
    ),
    "erased": lambda device: device.erase(),
    "disabled": lambda device: device.service.staff("admin", "root@example.com").post(
        f"/v1/admin/users/{device.user_id}/disable", {"reason": "asked for"}
    ),
}
KEEPING = {"password_changed"}


@pytest.mark.both_databases
class TestAllAtOnce:
    @pytest.mark.parametrize("reason", ACTS)
    def test_holds_from_the_next_request_on(self, service: Service, reason: str) -> None:
        """TK14, TK21: before the job has reached their rows."""
        phone, tablet = service.device(EMAIL), service.device(EMAIL)
        add_sessions(phone, FAR_MORE)
        assert ACTS[reason](tablet).status_code in (200, 202, 204)
        [(ended_at,)] = service.sql("SELECT ended_at FROM sessions WHERE id = :id", id=stored(phone))
        assert ended_at is None
        if reason == "disabled":  # which tells who signs in, and nobody else
            assert phone.get("/v1/me").status_code == 401
        else:
            refused(phone)
        assert tablet.get("/v1/me").status_code == (200 if reason in KEEPING else 401)

    @pytest.mark.parametrize("reason", ACTS)
    def test_a_job_settles_each_row(self, service: Service, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
        """TK21: in batches, by whoever and for whatever it was; what was interrupted goes on."""
        monkeypatch.setattr(endings, "BATCH", 60)
        phone, tablet = service.device(EMAIL), service.device(EMAIL)
        add_sessions(phone, FAR_MORE)
        ACTS[reason](tablet)
        settled = len(on_record(service))
        assert settled == MOST
        assert service.runtime.platform.database.run("write", endings.settle)
        assert len(on_record(service)) == MOST + 60
        settle(service)
        kept = reason in KEEPING
        left = service.sql("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND user_id = :id", id=owner(phone))
        assert left == [(int(kept),)]
        recorded = on_record(service)
        assert len(recorded) == len({session_id for session_id, _ in recorded}) == FAR_MORE + 2 - kept
        assert all(reason in detail or "administrator" in detail for _, detail in recorded)
        actors = service.sql(
            "SELECT count(DISTINCT actor_id), count(DISTINCT request_id), count(DISTINCT address) FROM audit_events "
            "WHERE event = 'session.ended'"
        )
        assert actors == [(1, 1, 1)]
        assert service.sql("SELECT count(*) FROM session_endings") == [(0,)]

    def test_the_kept_one_goes_on(self, service: Service) -> None:
        """TK14: with its credentials, its refresh token and its place in the list of devices."""
        phone, tablet = service.device(EMAIL), service.device(EMAIL)
        add_sessions(phone, FAR_MORE)
        vended = tablet.vend().json()
        for _ in range(2):
            assert ACTS["password_changed"](tablet).status_code in (204, 403)
        assert tablet.vend().json() == vended
        assert service.refresh(tablet.refresh_token).status_code == 200
        [device] = tablet.get("/v1/me/sessions").json()["items"]
        assert device["current"]
        settle(service)
        assert tablet.get("/v1/me").status_code == 200

    def test_lists_and_look_ups_tell_of_it_at_once(self, service: Service) -> None:
        """TK21: administrators' list, whose a found key is, the user's own export."""
        phone, tablet = service.device(EMAIL), service.device(EMAIL)
        key = phone.vend().json()["access_key_id"]
        add_sessions(phone, FAR_MORE)
        ended_at = service.clock.now()
        ACTS["password_changed"](tablet)
        service.clock.advance(minutes=1)
        admin = service.staff("admin", "root@example.com")
        listed = admin.get(f"/v1/admin/users/{phone.user_id}/sessions").json()["items"]
        assert [item["session_id"] for item in listed] == [tablet.session_id]
        expected = ended_at.strftime("%Y-%m-%dT%H:%M:%S")
        found = admin.get(f"/v1/admin/access-keys/{key}").json()
        assert found["session"]["ended_at"].startswith(expected)
        exported = {item["session_id"]: item for item in tablet.get("/v1/me/export").json()["sessions"]}
        assert exported[tablet.session_id]["ended_at"] is None
        assert exported[phone.session_id]["ended_at"].startswith(expected)
        assert exported[phone.session_id]["end_reason"] == "password_changed"
        settle(service)
        again = {item["session_id"]: item for item in tablet.get("/v1/me/export").json()["sessions"]}
        assert again[phone.session_id] == exported[phone.session_id]

    def test_what_is_under_way_is_dropped(self, service: Service) -> None:
        """VC6: the session ends by its epoch while STS works."""
        phone, tablet = service.device(EMAIL), service.device(EMAIL)
        add_sessions(phone, FAR_MORE)
        service.sts.before_answer = lambda form: [ACTS["sign_out"](tablet)]
        answer = phone.vend()
        service.sts.before_answer = lambda form: None
        assert_problem(answer, 401, "invalid_token")
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(0,)]

    def test_a_session_begun_afterwards_lives(self, service: Service) -> None:
        device = service.device(EMAIL)
        for _ in range(3):
            device.delete("/v1/me/sessions")
            device = service.device(EMAIL)
            assert device.get("/v1/me").status_code == 200

    def test_one_that_is_over_cannot_be_kept(self, service: Service) -> None:
        """Who is signed out while they change the password is not signed in again by it."""
        phone = service.device(EMAIL)
        add_sessions(phone, FAR_MORE)
        user, now = UUID(phone.user_id), service.clock.now()
        for keeping in (None, UUID(phone.session_id)):
            service.runtime.platform.database.run(
                "write", endings.sign_out, COMMAND_LINE, now, user_id=user, actor_id=user, keeping=keeping
            )
        refused(phone)

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_refresh_that_waited_for_it_goes_on(self, service: Service) -> None:
        """The kept session's row was locked: what was read of its user before is no longer so."""
        device = service.device(EMAIL)
        database, user, kept = service.runtime.platform.database, UUID(device.user_id), UUID(device.session_id)
        vault, now = service.runtime.platform.vault, service.clock.now()
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        answers: list[UUID] = []

        def refresh(session: Session) -> UUID:
            for patience in ("lock_timeout", "statement_timeout"):
                session.execute(text(f"SET LOCAL {patience} = '60s'"))
            token = device.refresh_token
            return rotation.refresh(
                session, vault, COMMAND_LINE, now, refresh_token=token, grace=timedelta(seconds=30), verified_only=False
            ).session_id

        refreshing = threading.Thread(target=lambda: answers.append(database.run("write", refresh)), daemon=True)

        def sign_out(session: Session) -> None:
            endings.sign_out(session, COMMAND_LINE, now, user_id=user, actor_id=user, keeping=kept)
            refreshing.start()
            with database.engine.connect() as other:
                assert eventually(lambda: other.execute(waiting).scalar() == 1)

        database.run("write", sign_out)
        refreshing.join(60)
        assert answers == [kept]

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_touches_as_few_rows_of_many_as_of_one(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """TK21: what PostgreSQL reads and writes is bounded by how many are settled at once."""
        monkeypatch.setattr(endings, "MOST", 10)  # for a hundred it would rather read so small a table as a whole
        device = service.device(EMAIL)
        add_sessions(device, 20_000)
        service.sql("ANALYZE sessions")
        service.sql("SELECT pg_stat_reset()")
        assert device.delete("/v1/me/sessions").status_code == 204
        service.runtime.platform.database.engine.dispose()
        counted = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0), n_tup_upd FROM pg_stat_user_tables "

        def counts() -> tuple[int, int]:
            read, written = service.sql(counted + "WHERE relname = 'sessions'")[0]
            return int(read), int(written)

        assert eventually(lambda: counts()[1] > 0)
        assert counts() == (pytest.approx(20, abs=10), 10)


@pytest.mark.both_databases
class TestVersionBefore:
    """Replicas that know no epoch, while they are replaced one by one."""

    def test_a_session_that_it_begins_lives(self, service: Service) -> None:
        """Its INSERT names no epoch: a trigger gives it the user's of now."""
        service.device(EMAIL).delete("/v1/me/sessions")
        device = service.device(EMAIL)
        begin = (
            "INSERT INTO sessions (id, user_id, method, created_at, authenticated_at, last_used_at, expires_at) "
            "SELECT :new, user_id, method, created_at, authenticated_at, last_used_at, expires_at FROM sessions "
            "WHERE id = :id"
        )
        new = UUID(int=7)
        service.sql(begin, new=new.hex, id=stored(device))
        assert [epoch for (epoch,) in service.sql("SELECT session_epoch FROM sessions WHERE ended_at IS NULL")] == [
            1,
            1,
        ]
        device.access_token = service.runtime.tokens.mint(
            user_id=UUID(device.user_id), session_id=new, authenticated_at=service.clock.now()
        )
        assert device.get("/v1/me").status_code == 200

    def test_one_that_it_ends_is_over(self, service: Service) -> None:
        device = service.device(EMAIL)
        service.sql("UPDATE sessions SET ended_at = created_at WHERE id = :id", id=stored(device))
        refused(device)

    def test_one_without_an_epoch_is_over(self, service: Service) -> None:
        """Deny by default."""
        device = service.device(EMAIL)
        service.sql("UPDATE sessions SET session_epoch = NULL WHERE id = :id", id=stored(device))
        refused(device)

    def test_one_from_before_the_migration_lives(self, service: Service) -> None:
        now = service.clock.now() - timedelta(days=1)
        grant = service.runtime.platform.database.run(
            "write", add_signed_in, service.runtime.platform.vault, now, EMAIL
        )
        assert service.sql("SELECT session_epoch FROM sessions") == [(0,)]
        assert service.refresh(grant.refresh_token).status_code == 200


def stored(device: Device) -> str:
    """The session's id as a statement of text finds it on either engine."""
    return _stored(device, device.session_id)


def owner(device: Device) -> str:
    return _stored(device, device.user_id)


def _stored(device: Device, name: str) -> str:
    on_sqlite = device.service.runtime.platform.database.engine.dialect.name == "sqlite"
    return UUID(name).hex if on_sqlite else name
