"""The job that empties an erased user's prefix, on a real engine and both databases."""

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from sqlalchemy.orm import Session

from app import engine
from app.aws import s3
from app.compose import build_runtime
from app.engine import Engine
from app.platform.problems import StsUnavailable
from app.records import audit, outgoing
from app.records.models import Erasure
from app.upkeep import erased_objects
from tests.sharing.test_grants import give
from tests.support.clock import ManualClock
from tests.support.engine import CLIENT, of_engine, owner_of
from tests.support.service import Device, Service, running_service

ODD = (
    "a b+c.jpg",
    "Zürich/🏔.jpg",
    "%2e%2e/x.jpg",
    "<&>\"'.jpg",
    "deep/er/and/deeper.jpg",
    "tab\there.jpg",
    "#?&=;@.jpg",
    "plus+ space .jpg",
    "$(x)*~|.jpg",
    "control\x01.jpg",
    "new\nline.jpg",
    "folder/",
)
TTL = 3600


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine.start(tmp_path_factory.mktemp("erasure") / "engine") as started:
        yield started


@dataclass
class World:
    service: Service
    owner: Any
    bucket: str

    def put(self, device: Device, *names: str) -> None:
        for name in names:
            self.owner.put_object(Bucket=self.bucket, Key=f"users/{device.user_id}/{name}", Body=b"x")

    def keys(self, device: Device) -> list[str]:
        prefix = f"users/{device.user_id}/"
        pages = self.owner.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def work(self) -> bool:
        assert self.service.client.portal is not None
        return self.service.client.portal.call(
            erased_objects.erase_next, self.service.runtime.platform, self.service.runtime.vending
        )

    def erasure(self, device: Device) -> Any:
        rows = Erasure.__table__.select().where(Erasure.user_id == uuid.UUID(device.user_id))
        with self.service.runtime.platform.database.engine.connect() as connection:
            return connection.execute(rows).one()


@pytest.fixture
def world(running: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with ExitStack() as stack:
        service = stack.enter_context(
            running_service(
                database_url,
                clock=ManualClock(datetime.now(UTC)),
                **of_engine(running),
            )
        )
        owner = owner_of(running)
        yield World(service, owner, running.bucket)
        owner.close()


def as_holder(vended: Mapping[str, Any]) -> Any:
    """S3 by a vended credential."""
    return boto3.client(
        "s3",
        region_name=vended["region"],
        endpoint_url=vended["endpoint_url"],
        aws_access_key_id=vended["access_key_id"],
        aws_secret_access_key=vended["secret_access_key"],
        aws_session_token=vended["session_token"],
        config=CLIENT,
    )


@pytest.mark.both_databases
class TestErasure:
    def test_deletes_every_object_whatever_its_name(self, world: World) -> None:
        device = world.service.device()
        with closing(as_holder(device.vend().json())) as s3_of_user:
            for name in ODD:
                body = b"" if name.endswith("/") else b"x"
                s3_of_user.put_object(Bucket=world.bucket, Key=f"users/{device.user_id}/{name}", Body=body)
        assert len(world.keys(device)) == len(ODD)
        device.erase()
        assert world.work()
        assert world.keys(device) == []
        assert world.erasure(device).deleted_objects == len(ODD)

    def test_leaves_everybody_elses(self, world: World) -> None:
        device, other = world.service.device(), world.service.device()
        world.put(device, "mine.jpg")
        world.put(other, "theirs.jpg")
        longer = f"users/{device.user_id}0/x.jpg"
        world.owner.put_object(Bucket=world.bucket, Key=longer, Body=b"x")
        device.erase()
        world.work()
        assert world.keys(other) == [f"users/{other.user_id}/theirs.jpg"]
        assert world.owner.get_object(Bucket=world.bucket, Key=longer)["Body"].read() == b"x"

    def test_takes_a_list_in_pages(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3, "PAGE", 3)
        device = world.service.device()
        world.put(device, *(f"{number}.jpg" for number in range(10)))
        device.erase()
        world.work()
        assert world.keys(device) == []
        assert world.erasure(device).deleted_objects == 10

    def test_has_a_credential_in_the_ledger_that_reaches_nothing_else(self, world: World) -> None:
        """Its own row, so that each key is traced; and its own name at STS, which no device has."""
        device = world.service.device()
        device.erase()
        world.work()
        [(prefix, name)] = world.service.sql("SELECT prefix, role_session_name FROM issued_credentials")
        assert prefix == f"users/{device.user_id}/"
        assert name.startswith(f"{device.user_id}.")
        assert (
            name
            != world.service.runtime.vending.make_order(
                uuid.UUID(device.user_id),
                uuid.UUID(device.session_id),
                access="read_write",
                path="",
                duration=TTL,
            ).role_session_name
        )

        assert world.service.sql("SELECT actor_id FROM audit_events WHERE event = 'credential.issued'") == [(None,)]

    def test_vends_anew_before_its_credential_ends(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3, "PAGE", 3)
        monkeypatch.setattr(erased_objects, "RENEWED_WITH_LEFT", timedelta(seconds=TTL + 60))  # after each page, then
        device = world.service.device()
        world.put(device, *(f"{number}.jpg" for number in range(7)))
        device.erase()
        world.work()
        assert world.keys(device) == []
        assert world.service.sql("SELECT count(*) FROM issued_credentials") == [(4,)]
        assert world.erasure(device).completed_at is not None

    def test_nothing_to_erase_is_nothing_to_do(self, world: World) -> None:
        world.service.device()
        assert not world.work()


@pytest.mark.both_databases
class TestSecondSweep:
    def test_takes_what_a_credential_uploaded_after_the_first(self, world: World) -> None:
        device = world.service.device()
        vended = device.vend().json()
        device.erase()
        world.work()
        assert world.erasure(device).completed_at is None
        with closing(as_holder(vended)) as late:
            late.put_object(Bucket=world.bucket, Key=f"{vended['prefix']}late.jpg", Body=b"x")
        assert not world.work(), "it waits until that credential has expired"
        # As if its hour were over: the engine's own clock cannot be moved.
        world.service.sql("UPDATE issued_credentials SET expires_at = issued_at")
        world.service.sql("UPDATE erasures SET next_try_at = requested_at")
        world.service.clock.advance(seconds=erased_objects.TOLERANCE.total_seconds() + 1)
        assert world.work()
        assert world.keys(device) == []
        assert world.erasure(device).completed_at is not None

    def test_is_not_needed_where_nothing_was_vended(self, world: World) -> None:
        device = world.service.device()
        device.erase()
        world.work()
        assert world.erasure(device).completed_at is not None

    def test_completion_takes_the_sessions_and_is_audited(self, world: World) -> None:
        device = world.service.device()
        device.erase()
        world.work()
        assert world.service.sql("SELECT count(*) FROM sessions") == [(0,)]
        assert world.service.sql("SELECT count(*) FROM refresh_tokens") == [(0,)]
        assert world.service.sql("SELECT count(*) FROM audit_events WHERE event = 'user.erased'") == [(1,)]
        assert device.get("/v1/me").json()["code"] == "invalid_token"
        assert not world.work()

    def test_completion_takes_the_events_that_name_objects(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The names of objects are the user's own words. What the operator's server still waits for is sent."""
        monkeypatch.setattr(erased_objects, "EVENTS_AT_ONCE", 2)
        device, other = world.service.device(), world.service.device("ben@example.org")
        database, now = world.service.runtime.platform.database, world.service.clock.now()

        def story(session: Session) -> None:
            session.info[outgoing.ON] = True
            for user_id in map(uuid.UUID, (device.user_id, other.user_id)):
                for number in range(5):
                    key = f"users/{user_id}/canary{number}.jpg"
                    outgoing.note_object(session, now, "object.created", user_id, {"key": key}, known_by=key)
                audit.record(session, erased_objects.ORIGIN, "user.disabled", now, subject_id=user_id)

        database.run("write", story)
        named = f"FROM outgoing_events WHERE CAST(data AS TEXT) LIKE '%{device.user_id}/canary%'"
        ((waiting,),) = world.service.sql(f"SELECT min(sequence) {named}")
        world.service.sql(f"UPDATE outgoing_events SET delivered_at = created_at WHERE sequence <> {waiting}")
        device.erase()
        assert world.service.sql(f"SELECT count(*) {named}") == [(5,)]
        world.work()
        assert world.erasure(device).completed_at is not None
        assert world.service.sql(f"SELECT count(*) {named}") == [(1,)]
        assert world.service.sql("SELECT count(*) FROM outgoing_events WHERE type = 'object.created'") == [(6,)]
        assert world.service.sql("SELECT count(*) FROM outgoing_events WHERE type = 'user.disabled'") == [(2,)]


class TestTrouble:
    def test_sts_that_is_down_is_tried_again_later(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        device = world.service.device()
        world.put(device, "a.jpg")
        device.erase()

        async def down(_order: object) -> None:
            raise StsUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(world.service.runtime.vending.broker, "obtain", down)
            assert world.work()
        assert not world.work(), "not at once"
        world.service.clock.advance(minutes=1)
        assert world.work()
        assert world.keys(device) == []

    def test_an_engine_that_lists_what_it_deleted_is_not_asked_for_ever(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = world.service.device()
        device.erase()
        with monkeypatch.context() as patch:
            patch.setattr(s3, "delete_some", lambda *_arguments: ["users/still there.jpg"])
            assert world.work()
        assert world.erasure(device).completed_at is None
        assert not world.work(), "not at once"

    def test_where_deleting_many_is_refused_each_is_deleted_by_itself(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on Ceph RGW, which allows DeleteObjects to no session policy."""
        device = world.service.device()
        world.put(device, "a.jpg", "b.jpg")
        device.erase()
        make_client, refused = s3.make_client, []

        def without_batches(*arguments: Any) -> Any:
            client = make_client(*arguments)

            def refuse(**_call: Any) -> None:
                refused.append(1)
                raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObjects")

            client.delete_objects = refuse
            return client

        monkeypatch.setattr(s3, "make_client", without_batches)
        world.work()
        assert refused == [1]
        assert world.keys(device) == []

    def test_one_that_died_is_taken_over_from_after_its_lease(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = world.service.device()
        world.put(device, "a.jpg")
        device.erase()

        async def die(*_arguments: object) -> None:
            raise KeyError("dead")

        with monkeypatch.context() as patch:
            patch.setattr(erased_objects, "_empty", die)
            with pytest.raises(KeyError):
                world.work()
        assert not world.work()
        world.service.clock.advance(seconds=erased_objects.LEASE.total_seconds())
        assert world.work()
        assert world.keys(device) == []

    def test_one_that_was_too_slow_writes_nothing_more(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        device = world.service.device()
        world.put(device, "a.jpg")
        device.erase()
        empty = erased_objects._empty

        async def slow(*arguments: Any) -> None:
            world.service.sql("UPDATE erasures SET attempts = attempts + 1")  # another one has claimed it
            await empty(*arguments)

        monkeypatch.setattr(erased_objects, "_empty", slow)
        assert world.work()
        assert world.erasure(device).completed_at is None

    def test_of_two_replicas_one_gets_it(self, world: World) -> None:
        world.service.device().erase()
        runtime = build_runtime(world.service.settings, clock=world.service.clock)
        try:
            claims = [
                either.platform.database.run("write", erased_objects._claim, world.service.clock.now())
                for either in (world.service.runtime, runtime)
            ]
        finally:
            asyncio.run(runtime.close())
        assert [claim is not None for claim in claims] == [True, False]


@pytest.mark.both_databases
class TestContributions:
    """What an erased user put into folders of others is theirs to be deleted, and nothing else in those folders is."""

    def place(self, owner: Device, contributor: Device, path: str = "albums/") -> str:
        grant = give(owner, contributor, path, access="contribute")
        vended = contributor.vend(include_shared=True, grant_ids=[grant["grant_id"]]).json()
        (place,) = vended["write_prefixes"]
        return str(place).removeprefix(f"users/{owner.user_id}/")

    def expire_what_fills(self, world: World) -> None:
        """As if the hour of these credentials were over: the engine's own clock cannot be moved."""
        world.service.sql("UPDATE issued_credentials SET expires_at = issued_at WHERE shared IS NOT NULL")
        world.service.sql("UPDATE erasures SET next_try_at = requested_at")
        world.service.clock.advance(seconds=erased_objects.TOLERANCE.total_seconds() + 60)

    def test_go_with_their_author(self, world: World) -> None:
        ada, kim, bob, eve = (world.service.device() for _ in range(4))
        places = [(ada, self.place(ada, bob)), (ada, self.place(ada, bob, "trips/")), (kim, self.place(kim, bob))]
        for owner, place in places:
            world.put(owner, f"{place}a.jpg", f"{place}deep/b.jpg")
        world.put(ada, "albums/mine.jpg", f"{self.place(ada, eve)}theirs.jpg", f"albums/by/{bob.user_id}x/c.jpg")
        world.put(bob, "own.jpg")
        bob.erase()
        assert world.work()
        assert world.keys(bob) == world.keys(kim) == []
        assert len(world.keys(ada)) == 3
        assert not any(f"/{bob.user_id}/" in key for key in world.keys(ada))
        assert world.erasure(bob).deleted_objects == 7

    def test_of_a_credential_that_was_out_go_later(self, world: World) -> None:
        """And the erasure is complete only then."""
        ada, bob = world.service.device(), world.service.device()
        place = self.place(ada, bob)
        bob.erase()
        assert world.work()
        assert world.erasure(bob).completed_at is None
        world.put(ada, f"{place}late.jpg")
        self.expire_what_fills(world)
        assert world.work()
        assert world.keys(ada) == []
        assert world.erasure(bob).completed_at is not None
        assert world.service.sql("SELECT count(*) FROM contributions") == [(0,)]

    def test_are_found_after_the_grant_has_ended(self, world: World) -> None:
        ada, bob = world.service.device(), world.service.device()
        place = self.place(ada, bob)
        world.put(ada, f"{place}a.jpg")
        world.service.sql("DELETE FROM grants")
        bob.erase()
        assert world.work()
        assert world.keys(ada) == []

    def test_go_on_where_a_replica_died(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it had emptied is not listed again before its last look."""
        ada, bob = world.service.device(), world.service.device()
        places = [self.place(ada, bob, f"{number}/") for number in range(3)]
        world.put(ada, *(f"{place}a.jpg" for place in places))
        bob.erase()
        issue, reached = world.service.runtime.vending.issue_to_job, []

        async def fail_at_the_second(*args: Any, place: str | None = None, **members: Any) -> Any:
            reached.append(place)
            if place and len([one for one in reached if one]) == 2:
                raise StsUnavailable(cause="a test")
            return await issue(*args, place=place, **members)

        monkeypatch.setattr(world.service.runtime.vending, "issue_to_job", fail_at_the_second)
        world.work()
        assert len(world.keys(ada)) == 2
        world.service.clock.advance(minutes=5)
        world.work()
        assert world.keys(ada) == []
        assert [place is None for place in reached] == [True, False, False, True, False, False]
        assert reached[1] not in reached[2:]

    def test_of_others_hold_up_the_erasure_of_the_owner_until_they_end(self, world: World) -> None:
        """Whoever contributes to an erased user's folder may do so until their credential expires, and no longer."""
        ada, bob = world.service.device(), world.service.device()
        place = self.place(ada, bob)
        ada.erase()
        world.work()
        assert world.erasure(ada).completed_at is None
        world.put(ada, f"{place}late.jpg")
        assert bob.vend(include_shared=True).json()["write_prefixes"] == []
        self.expire_what_fills(world)
        world.work()
        assert world.keys(ada) == []
        assert world.erasure(ada).completed_at is not None
        assert world.service.sql("SELECT count(*) FROM contributions") == [(0,)]
