"""What users contribute to folders of others: counted on a real engine, on both databases, refused at the quota."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import select

from app import engine
from app.aws import s3
from app.engine import Engine
from app.platform.problems import StsUnavailable
from app.records.models import Contribution
from app.upkeep import contribution_count
from tests.sharing.test_contribute import fill, part_of, vend, writes
from tests.sharing.test_grants import prefix_of, recall
from tests.sharing.test_links import issued_by, make, open_link
from tests.storage.test_quota import EVERY, QUOTA, World, make_world, usage_of  # noqa: F401 - a fixture
from tests.support.service import Device
from tests.upkeep.test_erased_objects import as_holder

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("hashing")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine.start(tmp_path_factory.mktemp("contributions") / "engine") as started:
        yield started


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:  # noqa: F811
    return make_world(quota_count_seconds=EVERY)


@pytest.fixture
def ada(world: World) -> Device:
    return world.service.device("ada@example.org")


@pytest.fixture
def bob(world: World) -> Device:
    return world.service.device("bob@example.org")


def count(world: World) -> bool:
    portal = world.service.client.portal
    assert portal is not None
    return portal.call(contribution_count.count_next, world.service.runtime.platform, world.service.runtime.vending)


def place(world: World) -> Any:
    with world.service.runtime.platform.database.engine.connect() as connection:
        return connection.execute(select(Contribution.__table__)).one()


def revoked(device: Device) -> dict[str, str | None]:
    return {one["access_key_id"]: one["revoked_at"] for one in device.get("/v1/me/credentials").json()["items"]}


class TestCount:
    def test_is_of_what_lies_in_the_part_of_the_contributor(self, world: World, ada: Device, bob: Device) -> None:
        fill(ada, bob, quota_bytes=QUOTA)
        vend(bob)
        part = part_of(ada, bob).removeprefix(f"users/{ada.user_id}/")
        world.put(ada, f"{part}a.jpg", 30)
        world.put(ada, f"{part}b/ü \x01.jpg", 12)
        world.put(ada, "albums/2026/theirs.jpg", 50)
        world.put(ada, f"{part[:-1]}0/x.jpg", 50)
        assert count(world)
        assert not count(world), "nobody else is due"
        counted = place(world)
        assert (counted.bytes, counted.began_at, counted.counted_to) == (42, None, None)
        assert counted.next_count_at == world.service.clock.now() + timedelta(seconds=EVERY)

    def test_goes_on_page_by_page_where_it_was(
        self, world: World, ada: Device, bob: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3, "PAGE", 2)
        monkeypatch.setattr(contribution_count, "MOST_PAGES", 2)
        fill(ada, bob, quota_bytes=QUOTA)
        vend(bob)
        part = part_of(ada, bob).removeprefix(f"users/{ada.user_id}/")
        for number in range(9):
            world.put(ada, f"{part}{number} é.jpg", 3)
        assert count(world)
        assert (place(world).bytes, place(world).bytes_so_far) == (0, 12)
        while count(world):
            pass
        assert (place(world).bytes, place(world).bytes_so_far) == (27, 0)

    def test_that_reaches_the_quota_takes_back_what_writes(self, world: World, ada: Device, bob: Device) -> None:
        """Once. From then on the folder is only read, until there is room; of one's own nothing changes."""
        fill(ada, bob, quota_bytes=QUOTA)
        before = vend(bob)
        part = part_of(ada, bob)
        with closing(as_holder(before)) as held:
            held.put_object(Bucket=world.bucket, Key=f"{part}a.jpg", Body=b"x" * QUOTA)
        assert count(world)
        recall(world.service)
        assert revoked(bob)[before["access_key_id"]] is not None
        world.later(seconds=1)
        after = vend(bob)
        assert (after["write_prefixes"], after["shared_prefixes"]) == ([], [prefix_of(ada)])
        with closing(as_holder(after)) as held:
            with pytest.raises(ClientError) as refused:
                held.put_object(Bucket=world.bucket, Key=f"{part}b.jpg", Body=b"x")
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
            held.put_object(Bucket=world.bucket, Key=f"users/{bob.user_id}/own.jpg", Body=b"x")
        world.later(seconds=EVERY)
        while count(world):
            pass
        recall(world.service)
        assert revoked(bob)[after["access_key_id"]] is None, "no second time"
        world.owner.delete_object(Bucket=world.bucket, Key=f"{part}a.jpg")
        world.later(seconds=EVERY)
        writes(bob)
        world.later(seconds=EVERY)
        while count(world):
            pass
        assert writes(bob) == [part]

    def test_ends_once_no_credential_writes_there(
        self, world: World, ada: Device, bob: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(ada, bob, quota_bytes=QUOTA)
        vend(bob)
        assert count(world)
        # As if its hour were over: the engine's own clock cannot be moved.
        world.service.sql("UPDATE issued_credentials SET expires_at = issued_at")
        world.later(seconds=EVERY)
        assert count(world)
        assert place(world).next_count_at is not None, "the last upload may have come until just now"
        monkeypatch.setattr(contribution_count, "TOLERANCE", timedelta(0))
        world.later(seconds=EVERY)
        assert count(world)
        assert place(world).next_count_at is None
        vend(bob)
        assert place(world).next_count_at is not None

    def test_waits_where_sts_fails(
        self, world: World, ada: Device, bob: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(ada, bob, quota_bytes=QUOTA)
        vend(bob)

        async def fail(*_: Any, **__: Any) -> None:
            raise StsUnavailable(cause="a test")

        with monkeypatch.context() as patch:
            patch.setattr(world.service.runtime.vending, "issue_to_job", fail)
            assert not count(world)
        assert place(world).counted_at is None
        world.later(seconds=contribution_count.LEASE.total_seconds())
        assert count(world)
        assert place(world).counted_at is not None


class TestLink:
    def test_is_counted_for_all_who_contribute_by_it_together(self, world: World, ada: Device) -> None:
        link = make(ada, access="contribute", quota_bytes=QUOTA)
        service = world.service
        first, other = (open_link(service, link, contributor_name=name).json() for name in ("Grandma", "Uncle"))
        for opened in (first, other):
            with closing(as_holder(opened["credentials"])) as held:
                held.put_object(Bucket=world.bucket, Key=f"{opened['write_prefix']}a.jpg", Body=b"x" * (QUOTA // 2))
        assert issued_by(service, link) == [False, False]
        while count(world):
            pass
        assert issued_by(service, link) == [True, True]
        counts = [one for one in ada.get("/v1/me/credentials").json()["items"] if one["link_id"] is None]
        assert {one["prefix"] for one in counts} == {one["write_prefix"] for one in (first, other)}, "in a user's name"
        unbounded = make(ada, access="contribute")
        assert open_link(service, unbounded, contributor_name="Grandma").json()["write_prefix"] is not None
        stored = "SELECT bytes FROM contributions WHERE bytes > 0"
        assert service.sql(stored) == [(QUOTA // 2,), (QUOTA // 2,)]


class TestOwner:
    def test_is_counted_while_somebody_fills_their_folder(
        self,
        make_world: Callable[..., World],  # noqa: F811
    ) -> None:
        """And pays for it: at the quota nobody fills it any more."""
        world = make_world(quota_bytes=QUOTA, quota_count_seconds=EVERY)
        ada, bob = world.service.device("ada@example.org"), world.service.device("bob@example.org")
        fill(ada, bob)
        before = vend(bob)
        while world.count():
            pass
        part = part_of(ada, bob)
        with closing(as_holder(before)) as held:
            held.put_object(Bucket=world.bucket, Key=f"{part}a.jpg", Body=b"x" * QUOTA)
        world.later(seconds=EVERY)
        while world.count():
            pass
        assert usage_of(ada)["bytes"] == QUOTA
        recall(world.service)
        assert revoked(bob)[before["access_key_id"]] is not None
        tablet = world.service.device(bob.email)  # the engine's own clock is behind that of the revocation
        assert writes(tablet) == []
        world.owner.delete_object(Bucket=world.bucket, Key=f"{part}a.jpg")
        world.later(seconds=2 * EVERY)
        while world.count():
            pass
        assert writes(tablet) == [part]
