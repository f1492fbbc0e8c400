"""How much a user may store: counted on a real engine, on both databases, refused and revoked at the limit."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import select

from app import engine
from app.aws import s3
from app.engine import Engine
from app.platform.problems import StsUnavailable
from app.records.models import Usage
from app.storage import quota
from app.upkeep import usage_count
from app.upkeep.usage_count import Count
from tests.security.observed import assert_problem
from tests.security.races import all_at_once
from tests.support.clock import ManualClock
from tests.support.engine import of_engine, owner_of
from tests.support.service import Device, Service, running_service
from tests.upkeep.test_erased_objects import as_holder

QUOTA = 100
EVERY = 60
WHY = {"reason": "asked for by phone"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine.start(tmp_path_factory.mktemp("quota") / "engine") as started:
        yield started


@dataclass
class World:
    service: Service
    owner: Any
    bucket: str

    def put(self, device: Device, name: str, size: int) -> None:
        self.owner.put_object(Bucket=self.bucket, Key=f"users/{device.user_id}/{name}", Body=b"x" * size)

    def count(self) -> bool:
        assert self.service.client.portal is not None
        return self.service.client.portal.call(
            usage_count.count_next, self.service.runtime.platform, self.service.runtime.vending
        )

    def filled(self, size: int = QUOTA) -> Device:
        """Somebody who has vended, stored that much, and been counted."""
        device = self.service.device()
        assert device.vend(access="write").status_code == 200
        self.put(device, "a.jpg", size)
        assert self.count()
        return device

    def later(self, **time: float) -> None:
        self.service.clock.advance(**time)

    def wait(self) -> timedelta:
        """Until the next count of the one user."""
        with self.service.runtime.platform.database.engine.connect() as connection:
            at: datetime = connection.execute(select(Usage.next_count_at)).scalar_one()
        return at - self.service.clock.now()

    def revocations(self) -> list[Any]:
        rows = self.service.sql("SELECT detail FROM audit_events WHERE event = 'credential.revoked'")
        return [row for (row,) in rows if "quota_exceeded" in str(row)]


@pytest.fixture
def make_world(running: Engine, database_url: str) -> Iterator[Callable[..., World]]:
    with ExitStack() as stack:

        def make(**changes: Any) -> World:
            service = stack.enter_context(
                running_service(
                    database_url,
                    clock=ManualClock(datetime.now(UTC)),
                    **of_engine(running),
                    **changes,
                )
            )
            owner = owner_of(running)
            stack.callback(owner.close)
            return World(service, owner, running.bucket)

        yield make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(quota_bytes=QUOTA, quota_count_seconds=EVERY)


def usage_of(device: Device) -> Any:
    answer = device.get("/v1/me/usage")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.both_databases
class TestCount:
    def test_is_of_what_lies_under_the_users_own_prefix(self, world: World) -> None:
        device, other = world.service.device(), world.service.device()
        assert usage_of(device) == {
            "bytes": 0,
            "objects": 0,
            "old_bytes": None,
            "quota_bytes": QUOTA,
            "counted_at": None,
        }
        device.vend()
        world.put(device, "a.jpg", 30)
        world.put(device, "b/ü \x01.jpg", 12)
        world.put(other, "theirs.jpg", 50)
        world.owner.put_object(Bucket=world.bucket, Key=f"users/{device.user_id}0/x.jpg", Body=b"x" * 50)
        assert world.count()
        assert not world.count(), "nobody else is due"
        counted = usage_of(device)
        assert (counted["bytes"], counted["objects"]) == (42, 2)
        assert counted["counted_at"] is not None

    def test_goes_on_page_by_page_where_it_was(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A large prefix leaves others their turn, and a replica that dies leaves what it counted."""
        monkeypatch.setattr(s3, "PAGE", 2)
        monkeypatch.setattr(usage_count, "MOST_PAGES", 2)
        device = world.service.device()
        device.vend()
        for number in range(9):
            world.put(device, f"{number} é.jpg", 3)
        assert world.count()
        assert usage_of(device)["counted_at"] is None
        assert world.service.sql("SELECT objects_so_far, bytes_so_far FROM usage") == [(4, 12)]
        assert world.count()
        assert world.count()
        assert (usage_of(device)["objects"], usage_of(device)["bytes"]) == (9, 27)
        assert world.service.sql("SELECT objects_so_far, counted_to, began_at FROM usage") == [(0, None, None)]

    def test_has_a_credential_in_the_ledger_that_only_reads(self, world: World) -> None:
        device = world.filled()
        rows = world.service.sql("SELECT access, prefix FROM issued_credentials ORDER BY access")
        assert rows == [("read", f"users/{device.user_id}/"), ("write", f"users/{device.user_id}/")]
        who = world.service.sql(
            "SELECT count(*) FROM audit_events WHERE event = 'credential.issued' AND actor_id IS NULL"
        )
        assert who == [(1,)]

    def test_comes_again_while_something_may_change_and_once_after(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.filled(1)
        assert not world.count()
        assert world.wait() == timedelta(seconds=EVERY)
        world.later(seconds=EVERY)
        assert world.count()
        assert world.wait() == timedelta(seconds=EVERY)
        # As if its hour were over: the engine's own clock cannot be moved.
        world.service.sql("UPDATE issued_credentials SET expires_at = issued_at")
        world.later(seconds=EVERY)
        assert world.count(), "the last upload may have come until just now"
        assert world.wait() == timedelta(seconds=EVERY)
        monkeypatch.setattr(usage_count, "TOLERANCE", timedelta(0))
        world.later(seconds=EVERY)
        assert world.count()
        assert world.wait() == timedelta(days=30), "the round of all users"

    def test_is_not_asked_for_by_who_only_reads(self, world: World) -> None:
        assert world.service.device().vend(access="read").status_code == 200
        assert world.service.sql("SELECT count(*) FROM usage") == [(0,)]

    def test_is_not_made_where_there_is_no_quota(self, make_world: Callable[..., World]) -> None:
        world = make_world()
        device = world.service.device()
        device.vend()
        assert not world.count()
        assert usage_of(device)["quota_bytes"] is None
        assert world.service.sql("SELECT count(*) FROM usage") == [(0,)]

    def test_ends_with_the_account(self, world: World) -> None:
        device = world.filled()
        device.erase()
        assert not world.count()
        assert world.service.sql("SELECT count(*) FROM usage") == [(0,)]


@pytest.mark.both_databases
class TestTrouble:
    def test_sts_that_is_down_is_tried_again_after_the_lease(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = world.service.device()
        device.vend()

        async def down(_order: object) -> None:
            raise StsUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(world.service.runtime.vending.broker, "obtain", down)
            assert not world.count()
        assert not world.count()
        world.later(seconds=usage_count.LEASE.total_seconds())
        assert world.count()
        assert usage_of(device)["counted_at"] is not None

    def test_one_that_was_too_slow_writes_nothing(self, world: World) -> None:
        device = world.service.device()
        device.vend()
        database, now = world.service.runtime.platform.database, world.service.clock.now()
        claim, _ = database.run("write", usage_count._claim, now, world.service.settings)
        assert claim is not None
        late = replace(claim, attempts=claim.attempts - 1)
        for story, arguments in (
            (usage_count._settle, (world.service.settings, late, Count(5, 5, None))),
            (usage_count._note_progress, (late, Count(5, 5, "x"))),
        ):
            with pytest.raises(usage_count.ClaimLost):
                database.run("write", story, now, *arguments)  # type: ignore[arg-type]
        assert usage_of(device)["bytes"] == 0

    def test_of_many_replicas_one_gets_it(self, world: World) -> None:
        world.service.device().vend()
        database, now = world.service.runtime.platform.database, world.service.clock.now()
        claims = all_at_once(
            lambda _: database.run("write", usage_count._claim, now, world.service.settings)[0], crowd=6
        )
        assert len([claim for claim in claims if claim is not None]) == 1


@pytest.mark.both_databases
class TestFull:
    def test_writes_no_more_and_reads_and_deletes_as_ever(self, world: World) -> None:
        device = world.filled()
        for access in ("write", "read_write"):
            assert_problem(device.vend(access=access), 403, "quota_exceeded")
        assert_problem(device.vend(), 403, "quota_exceeded")
        assert device.vend(access="read").status_code == 200
        vended = device.vend(access="read_delete").json()
        assert vended["access"] == "read_delete"
        with closing(as_holder(vended)) as holder:
            key = {"Bucket": world.bucket, "Key": f"{vended['prefix']}a.jpg"}
            assert holder.get_object(**key)["ContentLength"] == QUOTA
            holder.delete_object(**key)

    def test_is_audited_once_a_minute_of_each_session(self, world: World) -> None:
        def rows() -> Any:
            refused = "event = 'credential.issued' AND outcome = 'refused'"
            return world.service.sql(f"SELECT count(*), count(DISTINCT session_id) FROM audit_events WHERE {refused}")

        device = world.filled()
        for asking, expected in ((device, (1, 1)), (world.service.device(device.email), (2, 2))):
            for access in ("write", "read_write", "read_write"):
                assert_problem(asking.vend(access=access), 403, "quota_exceeded")
            assert rows() == [expected]
        world.later(seconds=60)
        assert_problem(device.vend(), 403, "quota_exceeded")
        assert rows() == [(3, 2)]

    def test_writes_again_soon_after_there_is_room(self, world: World) -> None:
        """A refusal has them counted again, once a minute at most."""
        device = world.filled()
        world.owner.delete_object(Bucket=world.bucket, Key=f"users/{device.user_id}/a.jpg")
        assert_problem(device.vend(), 403, "quota_exceeded")
        assert not world.count(), "not at once: it was counted a moment ago"
        world.later(seconds=quota.RECOUNT_AFTER.total_seconds())
        assert world.count()
        assert device.vend().status_code == 200

    def test_revokes_what_is_out_once(self, world: World) -> None:
        device, other = world.service.device(), world.service.device()
        cached, others = device.vend().json(), other.vend().json()
        world.put(device, "a.jpg", QUOTA)
        while world.count():
            pass
        assert len(world.revocations()) == 1
        assert_problem(device.vend(), 403, "quota_exceeded")
        ledger = {row["access_key_id"]: row for row in device.get("/v1/me/credentials").json()["items"]}
        assert ledger[cached["access_key_id"]]["revoked_at"] is not None
        assert other.vend().json()["access_key_id"] == others["access_key_id"]
        for _ in range(2):
            world.later(seconds=EVERY)
            assert world.count()
        assert len(world.revocations()) == 1

    def test_revokes_again_where_it_is_reached_again(self, world: World) -> None:
        device = world.filled()
        key = {"Bucket": world.bucket, "Key": f"users/{device.user_id}/a.jpg"}
        world.owner.delete_object(**key)
        world.later(seconds=EVERY)
        assert world.count()
        world.owner.put_object(**key, Body=b"x" * QUOTA)
        world.later(seconds=EVERY)
        assert world.count()
        assert len(world.revocations()) == 2

    def test_crossed_by_many_at_once_revokes_once(self, world: World) -> None:
        """A count, an event and an administrator may all find it."""
        device = world.service.device()
        device.vend()
        database, now = world.service.runtime.platform.database, world.service.clock.now()
        user_id = uuid.UUID(device.user_id)

        def find_full(_index: int) -> None:
            def story(session: Any) -> None:
                user = session.get(usage_count.User, user_id, with_for_update=True)
                row = session.get(usage_count.Usage, user_id, with_for_update=True)
                row.bytes = QUOTA
                quota.judge(session, usage_count.ORIGIN, now, world.service.settings, user=user, usage=row)

            database.run("write", story)

        all_at_once(find_full, crowd=6)
        assert len(world.revocations()) == 1

    def test_reached_while_a_vend_is_under_way_is_not_handed_out(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = world.service.device()
        device.vend(access="write", path="first/")
        world.put(device, "a.jpg", QUOTA)
        obtain, counted = world.service.runtime.vending.broker.obtain, []

        async def slow(order: Any) -> Any:
            credential = await obtain(order)
            if not counted and order.access == "read_write":
                counted.append(1)
                await usage_count.count_next(world.service.runtime.platform, world.service.runtime.vending)
            return credential

        monkeypatch.setattr(world.service.runtime.vending.broker, "obtain", slow)
        assert_problem(device.vend(), 403, "quota_exceeded")
        assert counted == [1]


class TestOwnQuota:
    @pytest.fixture
    def world(self, make_world: Callable[..., World]) -> World:
        return make_world()

    def test_is_an_administrators_to_set(self, world: World) -> None:
        device, admin = world.service.device(), world.service.staff()
        device.vend()
        world.put(device, "a.jpg", 30)
        place = f"/v1/admin/users/{device.user_id}"
        assert_problem(admin.patch(place, {"quota_bytes": 50}), 422, "invalid_request")
        for wrong in (-1, 2**53, 1.5, "50", True):
            assert_problem(admin.patch(place, {"quota_bytes": wrong, **WHY}), 422, "invalid_request")
        assert_problem(world.service.staff("support").patch(place, {"quota_bytes": 50, **WHY}), 403, "forbidden")
        changed = admin.patch(place, {"quota_bytes": 50, **WHY}).json()
        assert (changed["quota_bytes"], changed["usage"]["quota_bytes"]) == (50, 50)
        assert world.count()
        shown = world.service.staff("support").get(place).json()["usage"]
        assert (shown["bytes"], shown["objects"], shown["quota_bytes"]) == (30, 1, 50)
        [(detail,)] = world.service.sql(
            "SELECT detail FROM audit_events WHERE event = 'user.quota_changed' AND outcome = 'done'"
        )
        assert all(text in str(detail) for text in (WHY["reason"], "50"))

    def test_below_what_is_stored_holds_at_once(self, world: World) -> None:
        device, admin = world.service.device(), world.service.staff()
        place = f"/v1/admin/users/{device.user_id}"
        admin.patch(place, {"quota_bytes": 50, **WHY})
        world.put(device, "a.jpg", 30)
        assert world.count()
        assert device.vend().status_code == 200
        admin.patch(place, {"quota_bytes": 30, **WHY})
        assert_problem(device.vend(), 403, "quota_exceeded")
        assert len(world.revocations()) == 1
        admin.patch(place, {"quota_bytes": None, **WHY})
        assert device.vend().status_code == 200

    def test_of_nothing_is_no_writing(self, world: World) -> None:
        device, admin = world.service.device(), world.service.staff()
        admin.patch(f"/v1/admin/users/{device.user_id}", {"quota_bytes": 0, **WHY})
        assert_problem(device.vend(), 403, "quota_exceeded")

    def test_taken_away_ends_the_counting(self, world: World) -> None:
        device, admin = world.service.device(), world.service.staff()
        place = f"/v1/admin/users/{device.user_id}"
        admin.patch(place, {"quota_bytes": 50, **WHY})
        admin.patch(place, {"quota_bytes": None, **WHY})
        issued = world.service.sql("SELECT count(*) FROM issued_credentials")
        assert world.count()
        assert not world.count()
        assert world.service.sql("SELECT count(*) FROM issued_credentials") == issued
        assert usage_of(device)["quota_bytes"] is None

    def test_reached_again_after_it_was_taken_away_revokes_again(self, world: World) -> None:
        device, admin = world.service.device(), world.service.staff()
        place = f"/v1/admin/users/{device.user_id}"
        admin.patch(place, {"quota_bytes": 50, **WHY})
        world.put(device, "a.jpg", 50)
        assert world.count()
        for times in (1, 2):
            assert len(world.revocations()) == times
            admin.patch(place, {"quota_bytes": None, **WHY})
            assert device.vend().status_code == 200
            admin.patch(place, {"quota_bytes": 50, **WHY})

    def test_of_everybody_that_is_no_more_forgets_who_had_reached_it(self, world: World) -> None:
        device, admin = world.service.device(), world.service.staff()
        admin.patch(f"/v1/admin/users/{device.user_id}", {"quota_bytes": 0, **WHY})
        world.service.sql("UPDATE users SET quota_bytes = NULL")  # as if it had been the setting's
        assert world.service.sql("SELECT exceeded FROM usage") in ([(True,)], [(1,)])
        assert world.count()
        assert world.service.sql("SELECT exceeded FROM usage") in ([(False,)], [(0,)])

    def test_left_out_stays_as_it_is(self, world: World) -> None:
        device, admin = world.service.device(), world.service.staff()
        place = f"/v1/admin/users/{device.user_id}"
        admin.patch(place, {"quota_bytes": 50, **WHY})
        assert admin.patch(place, {"display_name": "Ada"}).json()["quota_bytes"] == 50


class TestVersions:
    """VC16: in a bucket that keeps versions, as the embedded engine does."""

    @pytest.fixture
    def versioned(self, make_world: Callable[..., World]) -> Iterator[World]:
        world = make_world(quota_bytes=QUOTA, quota_count_seconds=EVERY, quota_versions_factor=2)
        world.owner.put_bucket_versioning(Bucket=world.bucket, VersioningConfiguration={"Status": "Enabled"})
        yield world
        world.owner.put_bucket_versioning(Bucket=world.bucket, VersioningConfiguration={"Status": "Suspended"})

    def test_who_overwrites_one_object_again_and_again_is_stopped(self, versioned: World) -> None:
        device = versioned.filled(60)
        assert (usage_of(device)["bytes"], usage_of(device)["old_bytes"]) == (60, 0)
        for _ in range(3):
            versioned.put(device, "a.jpg", 60)
        versioned.later(seconds=EVERY)
        assert versioned.count()
        assert (usage_of(device)["bytes"], usage_of(device)["objects"], usage_of(device)["old_bytes"]) == (60, 1, 180)
        refused = device.vend(access="write")
        assert_problem(refused, 403, "quota_exceeded")
        assert refused.json()["detail"] == quota.OLD_VERSIONS
        assert len(versioned.revocations()) == 1, "what they had out is revoked, once"

    def test_what_is_deleted_counts_until_the_bucket_ends_it(self, versioned: World) -> None:
        device = versioned.filled(90)
        prefix = f"users/{device.user_id}/"
        versioned.owner.delete_object(Bucket=versioned.bucket, Key=f"{prefix}a.jpg")
        versioned.put(device, "b.jpg", 20)
        versioned.later(seconds=EVERY)
        assert versioned.count()
        assert (usage_of(device)["bytes"], usage_of(device)["old_bytes"]) == (20, 90)
        assert device.vend(access="write").status_code == 200, "together 110 of 200"
        old = versioned.owner.list_object_versions(Bucket=versioned.bucket, Prefix=prefix)["Versions"]
        for version in (one for one in old if not one["IsLatest"]):  # as a lifecycle does
            versioned.owner.delete_object(Bucket=versioned.bucket, Key=version["Key"], VersionId=version["VersionId"])
        versioned.later(seconds=EVERY)
        assert versioned.count()
        assert (usage_of(device)["bytes"], usage_of(device)["old_bytes"]) == (20, 0)

    def test_a_count_goes_on_within_the_versions_of_one_object(
        self, versioned: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3, "PAGE", 2)
        monkeypatch.setattr(usage_count, "MOST_PAGES", 1)
        device, other = versioned.service.device(), versioned.service.device()
        device.vend()
        for _ in range(5):
            versioned.put(device, "a.jpg", 3)
            versioned.put(other, "theirs.jpg", 50)
        assert versioned.count()
        rows = versioned.service.sql("SELECT bytes_so_far, old_bytes_so_far, counted_to_version FROM usage")
        assert rows[0][:2] == (3, 3)
        assert rows[0][2]
        assert versioned.count()
        assert versioned.count()
        assert (usage_of(device)["bytes"], usage_of(device)["old_bytes"]) == (3, 12)

    def test_no_app_lists_or_deletes_versions(self, versioned: World) -> None:
        device = versioned.filled(10)
        versioned.put(device, "a.jpg", 20)
        prefix = f"users/{device.user_id}/"
        both = versioned.owner.list_object_versions(Bucket=versioned.bucket, Prefix=prefix)["Versions"]
        (old,) = (one["VersionId"] for one in both if not one["IsLatest"])
        for access in ("read", "write", "read_write", "read_delete"):
            with closing(as_holder(device.vend(access=access).json())) as holder:
                with pytest.raises(ClientError):
                    holder.list_object_versions(Bucket=versioned.bucket, Prefix=prefix)
                with pytest.raises(ClientError):
                    holder.delete_object(Bucket=versioned.bucket, Key=f"{prefix}a.jpg", VersionId=old)

    def test_without_a_factor_nothing_is_known_of_them(self, world: World) -> None:
        device = world.filled(10)
        assert usage_of(device)["old_bytes"] is None
