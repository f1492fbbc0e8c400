"""What happened over time: exact against a known history, whoever tallies it, and whatever was pruned since."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.admin import prune, stats, tally
from app.admin.stats import BUCKETS, SUMMED
from app.platform.db import Database
from app.records import audit
from app.records.models import Activity, Erasure, IssuedCredential, User
from tests.security.observed import assert_problem
from tests.security.races import all_at_once
from tests.support.authenticator import answer, challenge, enable
from tests.support.service import Service, running_service

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LONGEST = timedelta(hours=1)
NOTHING = dict.fromkeys((*SUMMED, "users", "live_credentials"), 0)
FIVE = timedelta(minutes=5)


@pytest.fixture
def database(database_url: str) -> Any:
    made = Database(database_url, pool_size=4)
    yield made
    made.close()


def pass_once(service: Service) -> bool:
    assert service.client.portal is not None
    return service.client.portal.call(tally.work, service.runtime.platform, service.runtime.own_work)


def pass_all(service: Service) -> int:
    passes = 0
    while pass_once(service):
        passes += 1
    return passes


def asked(service: Service, window: str = "1h") -> dict[str, Any]:
    """By the rule itself: an administrator's own sign-in would count."""
    found = service.runtime.platform.database.run("read", stats.read, service.clock.now(), window, longest=LONGEST)
    return {
        bucket.start.strftime("%m-%dT%H:%M"): {
            **bucket.counts,
            "users": bucket.users,
            "live_credentials": bucket.live_credentials,
        }
        for bucket in found.buckets
    }


def total(service: Service, name: str, window: str = "1h") -> int:
    return sum(bucket[name] or 0 for bucket in asked(service, window).values())


def record(database: Database, event: Any, *moments: datetime, outcome: Any = "done", **detail: str) -> None:
    def story(session: Session) -> None:
        for at in moments:
            audit.record(session, audit.COMMAND_LINE, event, at, outcome=outcome, actor_id=uuid.uuid4(), **detail)

    database.run("write", story)


def write(database: Database, model: type[Any], **columns: Any) -> None:
    database.run("write", lambda session: session.execute(insert(model).values(**columns)) and None)


def add_user(database: Database, created_at: datetime) -> uuid.UUID:
    user_id = uuid.uuid4()
    write(database, User, id=user_id, status="active", role="user", created_at=created_at)
    return user_id


def add_credential(
    database: Database, issued_at: datetime, *, ttl: timedelta = LONGEST, revoked_at: datetime | None = None
) -> None:
    write(
        database,
        IssuedCredential,
        id=uuid.uuid4(),
        user_id=uuid.uuid4(),
        session_id=uuid.uuid4(),
        access_key_id=f"ASIA{uuid.uuid4().hex[:16]}",
        access="read",
        prefix="users/x/",
        role_session_name="x",
        issued_at=issued_at,
        expires_at=issued_at + ttl,
        revoked_at=revoked_at,
    )


def tally_until_done(database: Database, now: datetime) -> int:
    done = 0
    while database.run("write", tally.tally_next, now, longest=LONGEST):
        done += 1
    return done


def rows(database: Database) -> list[tuple[Any, ...]]:
    with database.engine.connect() as connection:
        names = ", ".join(("started_at", "tallied", *SUMMED, "users", "live_credentials"))
        return [tuple(row) for row in connection.exec_driver_sql(f"SELECT {names} FROM activity ORDER BY started_at")]


def counts_of(database: Database, now: datetime, window: Any = "1h") -> dict[datetime, dict[str, Any]]:
    found = database.run("read", stats.read, now, window, longest=LONGEST)
    return {
        bucket.start: {
            **{name: count for name, count in bucket.counts.items() if count},
            "users": bucket.users,
            "live_credentials": bucket.live_credentials,
        }
        for bucket in found.buckets
    }


@pytest.mark.both_databases
class TestCounts:
    def test_are_of_what_was_done_through_the_api(self, service: Service) -> None:
        """Before the tally and after it, the same."""
        ada = service.device()
        service.register()
        service.client.post("/v1/auth/guest", json={})
        service.log_in(ada.email, "not the password")
        authenticator = enable(ada)
        answer(service, challenge(ada), authenticator.wrong_code())
        authenticator.fresh_code()
        answer(service, challenge(ada), authenticator.code())
        ada.vend()
        service.sql("UPDATE issued_credentials SET revoked_at = issued_at")
        ada.vend(path="a/")
        expected = NOTHING | {
            "sign_ups": 3,
            "sign_ins": 3,
            "failures": 2,
            "mfa_failures": 1,
            "vends_issued": 2,
            "revocations": 1,
            "users": 3,
            "live_credentials": 1,
        }
        assert asked(service)["06-01T12:00"] == expected
        service.clock.advance(minutes=7)
        pass_all(service)
        assert asked(service)["06-01T12:00"] == expected
        tallied = service.sql("SELECT sign_ups FROM activity WHERE tallied ORDER BY started_at")
        assert [count for (count,) in tallied] == [3]

    def test_of_a_process_are_added_once(self, service: Service) -> None:
        """Cached vends and STS, to the five minutes in which they were added."""
        ada = service.device()
        for _ in range(4):
            ada.vend()
        service.sts.fail("InternalFailure", 500, times=2)
        ada.vend(path="b/")
        pass_once(service)
        pass_once(service)
        first = asked(service)["06-01T12:00"]
        assert (first["vends_cached"], first["vends_issued"]) == (3, 1)
        assert (first["sts_calls"], first["sts_errors"]) == (len(service.sts.forms), 2)
        service.clock.advance(minutes=30)
        pass_all(service)
        ada = service.device(ada.email)
        ada.vend()
        ada.vend()
        pass_all(service)
        again = asked(service)
        assert again["06-01T12:00"] == first
        assert again["06-01T12:30"]["vends_cached"] == 1

    def test_of_processes_add_up(self, database_url: str, service: Service) -> None:
        with running_service(database_url) as other:
            for one in (service, other):
                ada = one.device()
                ada.vend()
                ada.vend()
                pass_once(one)
            assert total(other, "vends_cached") == total(service, "vends_cached") == 2
            assert total(service, "vends_issued") == 2
            ada.vend()
        assert total(service, "vends_cached") == 3  # what a service adds when it stops

    def test_of_five_minutes_are_of_them_alone(self, database: Database) -> None:
        """A moment belongs to the five minutes that begin with it."""
        edges = [NOON - timedelta(microseconds=1), NOON, NOON + FIVE - timedelta(microseconds=1), NOON + FIVE]
        record(database, "session.started", *edges)
        record(database, "session.started", NOON, outcome="refused", reason="invalid_mfa_code")
        record(database, "session.started", NOON, outcome="refused", reason="invalid_login")
        record(database, "session.refreshed", NOON)
        now = NOON + timedelta(minutes=9)
        for _ in range(2):
            found = counts_of(database, now)
            assert found[NOON] | {"users": 0} == {
                "sign_ins": 2,
                "failures": 2,
                "mfa_failures": 1,
                "users": 0,
                "live_credentials": 0,
            }
            assert found[NOON + FIVE]["sign_ins"] == 1
            tally_until_done(database, now)
        found = counts_of(database, now, "24h")
        assert found[NOON - timedelta(minutes=15)]["sign_ins"] == 1
        assert found[NOON]["sign_ins"] == 3

    def test_of_what_is_alive_are_those_at_the_end_of_each_bucket(self, database: Database) -> None:
        add_credential(database, NOON - timedelta(minutes=58))  # expires at 12:02
        add_credential(database, NOON + timedelta(minutes=1), revoked_at=NOON + timedelta(minutes=6))
        add_credential(database, NOON + timedelta(minutes=5))  # at the end of the first five minutes: after them
        add_credential(database, NOON + timedelta(minutes=12), ttl=timedelta(minutes=15))
        record(database, "session.started", NOON - timedelta(minutes=10))
        now = NOON + timedelta(minutes=50)
        tally_until_done(database, now)
        found = counts_of(database, now)
        alive = [found[NOON + place * FIVE]["live_credentials"] for place in range(-1, 8)]
        assert alive == [1, 1, 1, 2, 2, 2, 1, 1, 1]
        assert [found[NOON + place * FIVE].get("revocations", 0) for place in range(3)] == [0, 1, 0]

    @pytest.mark.slow("all that can happen to a user")
    def test_of_users_follow_who_comes_and_goes(self, database: Database) -> None:
        ids = [add_user(database, NOON - timedelta(days=90)) for _ in range(5)]
        write(
            database,
            Erasure,
            user_id=ids[0],
            requested_at=NOON - timedelta(days=80),
            next_try_at=NOON,
            attempts=0,
            deleted_objects=0,
        )
        record(database, "session.started", NOON)
        add_user(database, NOON + timedelta(minutes=6))
        write(
            database,
            Erasure,
            user_id=ids[1],
            requested_at=NOON + timedelta(minutes=11),
            next_try_at=NOON,
            attempts=0,
            deleted_objects=0,
        )
        record(database, "user.erasure_requested", NOON + timedelta(minutes=11))
        now = NOON + timedelta(minutes=19)
        tally_until_done(database, now)
        found = counts_of(database, now)
        assert [found[NOON + place * FIVE]["users"] for place in range(4)] == [4, 5, 4, 4]
        # Users who were made with a date of long ago are seen at the next midnight.
        add_user(database, NOON - timedelta(days=40))
        midnight = datetime(2026, 6, 2, tzinfo=UTC)
        tally_until_done(database, midnight + timedelta(minutes=12))
        found = counts_of(database, midnight + timedelta(minutes=12))
        assert (found[midnight - FIVE]["users"], found[midnight]["users"]) == (4, 5)


@pytest.mark.both_databases
class TestBuckets:
    @pytest.mark.parametrize("window", BUCKETS)
    def test_are_aligned_to_utc_and_all_there(self, database: Database, window: Any) -> None:
        """Also around the night when Europe's clocks change, and on a machine whose time zone is anywhere."""
        length, number = BUCKETS[window]
        now = datetime(2026, 3, 29, 4, 7, 9, tzinfo=UTC)
        found = database.run("read", stats.read, now, window, longest=LONGEST)
        starts = [bucket.start for bucket in found.buckets]
        assert len(starts) == number
        assert starts[-1] <= now < starts[-1] + length
        assert {later - earlier for earlier, later in itertools.pairwise(starts)} == {length}
        assert all((start - tally.EPOCH) % length == timedelta(0) for start in starts)
        assert all(bucket.counts == dict.fromkeys(SUMMED, 0) for bucket in found.buckets)

    @pytest.mark.parametrize("window", BUCKETS)
    def test_sum_what_the_tally_has_and_what_happened_since(self, database: Database, window: Any) -> None:
        now = datetime(2026, 7, 1, 0, 7, tzinfo=UTC)
        length, number = BUCKETS[window]
        first = tally.floor(now, length) - (number - 1) * length
        tallied = sorted(
            {first - FIVE, first, first + length - FIVE, first + length, tally.floor(now) - 2 * FIVE},
        )
        for users, started_at in enumerate(tallied):
            write(database, Activity, started_at=started_at, tallied=True, sign_ups=1, users=users, live_credentials=0)
        record(database, "user.registered", tally.floor(now) - FIVE, now)
        found = database.run("read", stats.read, now, window, longest=LONGEST)
        assert sum(bucket.counts["sign_ups"] for bucket in found.buckets) == len(tallied) - 1 + 2
        assert found.buckets[0].counts["sign_ups"] == len([at for at in tallied if first <= at < first + length])
        assert found.buckets[1].users == tallied.index(first + length)
        assert found.buckets[-1].users == len(tallied) - 1
        assert found.counted_until == now


@pytest.mark.both_databases
class TestTally:
    def test_waits_until_nothing_can_come_late(self, database: Database) -> None:
        """A transaction that commits after its five minutes is counted, and once."""
        record(database, "session.started", NOON)
        closing = NOON + FIVE + tally.LAG
        assert not database.run("write", tally.tally_next, closing - timedelta(seconds=1), longest=LONGEST)
        assert counts_of(database, closing)[NOON]["sign_ins"] == 1
        record(database, "session.started", NOON + timedelta(minutes=4, seconds=59))  # commits now
        assert counts_of(database, closing)[NOON]["sign_ins"] == 2
        assert tally_until_done(database, closing) == 1
        assert counts_of(database, closing)[NOON]["sign_ins"] == 2

    def test_counts_once_for_replicas_that_do_it_at_once(self, database: Database) -> None:
        record(database, "user.registered", *(NOON + n * timedelta(seconds=50) for n in range(30)))
        now = NOON + timedelta(minutes=40)
        won = all_at_once(lambda _: tally_until_done(database, now), crowd=4)
        assert sum(won) == 7
        found = counts_of(database, now)
        assert [found[NOON + place * FIVE].get("sign_ups", 0) for place in range(6)] == [6, 6, 6, 6, 6, 0]
        assert all(row[1] for row in rows(database))

    def test_one_that_lost_writes_nothing(self, database: Database) -> None:
        """Two have counted, one waits for the other's commit: by then the row says that it is done."""
        record(database, "user.registered", NOON)
        now = NOON + timedelta(minutes=8)
        database.run("write", tally.tally_next, now, longest=LONGEST)
        before = rows(database)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tally, "next_due", lambda *_: NOON)
            patch.setattr(tally, "count", lambda *_, **__: {**dict.fromkeys(SUMMED[:6], 99), "erasures": 0})
            assert not database.run("write", tally.tally_next, now, longest=LONGEST)
        assert rows(database) == before

    def test_takes_up_what_a_dead_replica_left(self, database: Database) -> None:
        """It died after it had counted and before it committed."""
        record(database, "user.registered", NOON, NOON + FIVE)
        now = NOON + timedelta(minutes=13)

        def die(session: Session) -> None:
            assert tally.tally_next(session, now, longest=LONGEST)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            database.run("write", die)
        assert rows(database) == []
        assert tally_until_done(database, now) == 2
        assert counts_of(database, now)[NOON]["sign_ups"] == 1

    @pytest.mark.all
    def test_goes_on_after_a_pause_in_bounded_passes(self, service: Service) -> None:
        service.device()
        service.clock.advance(days=2)
        assert pass_once(service)
        assert service.sql("SELECT count(*) FROM activity") == [(1,)]
        answered = service.staff("support").get("/v1/admin/stats?window=7d").json()
        assert answered["counted_until"] == "2026-06-01T12:05:00Z"
        assert pass_all(service) == 2 * 288 - 2
        answered = service.staff("support").get("/v1/admin/stats?window=7d").json()
        assert answered["counted_until"] == answered["generated_at"]
        assert sum(bucket["sign_ups"] for bucket in answered["buckets"]) == 3

    def test_begins_a_month_back_at_most(self, database: Database) -> None:
        record(database, "user.registered", NOON - timedelta(days=300), NOON - timedelta(days=32), NOON)
        assert database.run("read", tally.tallied_until, NOON) == NOON - tally.BACK

    def test_remembers_what_was_pruned(self, service: Service) -> None:
        service.device()
        service.clock.advance(minutes=20)
        pass_all(service)
        before = asked(service)["06-01T12:00"]
        assert before["sign_ups"] == 1
        on_sqlite = service.runtime.platform.database.engine.dialect.name == "sqlite"
        service.sql(
            "DROP TRIGGER audit_events_no_delete" if on_sqlite else "ALTER TABLE audit_events DISABLE TRIGGER USER"
        )
        service.sql("DELETE FROM audit_events")
        assert asked(service)["06-01T12:00"] == before
        service.clock.advance(minutes=20)
        pass_all(service)
        assert asked(service)["06-01T12:00"] == before

    def test_is_forgotten_after_a_year_and_more(self, service: Service) -> None:
        service.device()
        service.clock.advance(minutes=20)
        pass_all(service)
        kept = service.sql("SELECT count(*) FROM activity")
        service.clock.advance(days=399)
        service.runtime.platform.database.run("write", prune.delete_stale, service.clock.now())
        assert service.sql("SELECT count(*) FROM activity") == kept
        service.clock.advance(days=2)
        service.runtime.platform.database.run("write", prune.delete_stale, service.clock.now())
        assert service.sql("SELECT count(*) FROM activity") == [(0,)]


class TestRoute:
    def test_has_fixed_members(self, service: Service) -> None:
        support = service.staff("support")
        support.vend()
        pass_once(service)
        answered = support.get("/v1/admin/stats").json()
        assert answered.keys() == {"window", "bucket_seconds", "generated_at", "counted_until", "buckets"}
        assert (answered["window"], answered["bucket_seconds"], len(answered["buckets"])) == ("24h", 900, 96)
        assert answered["generated_at"] == answered["counted_until"] == "2026-06-01T12:00:00Z"
        last = answered["buckets"][-1]
        assert last.keys() == {
            *{"start", "sign_ups", "sign_ins", "failures", "mfa_failures", "vends_issued", "vends_cached"},
            *{"vends_refused", "revocations", "sts_calls", "sts_errors", "sts_slow", "sts_mean_ms", "users"},
            "live_credentials",
        }
        assert last["start"] == "2026-06-01T12:00:00Z"
        assert last["sts_calls"] >= 1
        assert isinstance(last["sts_mean_ms"], float)
        assert answered["buckets"][0]["sts_mean_ms"] is None

    @pytest.mark.parametrize("query", ["window=1d", "window=", "window=24H", "window=1h&window=x"])
    def test_refuses_other_windows(self, service: Service, query: str) -> None:
        assert_problem(service.staff("support").get(f"/v1/admin/stats?{query}"), 422, "invalid_request")
