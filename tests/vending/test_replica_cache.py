"""Credentials that replicas share, on a real Redis: one for all of them, and none the less without it."""

import asyncio
import contextlib
import dataclasses
import socketserver
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from httpx2 import AsyncClient
from starlette.testclient import TestClient

from app.aws.sts_client import StsCredential
from app.compose import build_runtime
from app.crypto import kinds
from app.crypto.vault import Vault
from app.main import create_app
from app.platform.metrics import Metrics
from app.platform.problems import InvalidToken, StsUnavailable
from app.policy.session_policy import Share
from app.sharing import receiving
from app.vending import replica_cache
from app.vending.entries import Issued
from app.vending.orders import Order, Terms
from app.vending.replica_cache import AVOIDED_FOR, LOCK_TTL, SharedCache
from tests.support.canned_sts import CannedSts
from tests.support.clock import ManualClock
from tests.support.databases import SqliteDatabases
from tests.support.redis import RedisServer, redis_server
from tests.support.service import ROLE_ARN, SECRET_KEY, Device, Service, test_settings
from tests.vending.crowd import hold, on_loop_of, sign_in

ORDER = Order(
    uuid.UUID(int=1), uuid.UUID(int=2), "read", "users/1/", 3600, "{}", Terms(mode="assume_role", role_arn=ROLE_ARN)
)
MakeReplica = Callable[..., Service]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def make_replica(redis: RedisServer, sqlite_databases: SqliteDatabases, tmp_path: Path) -> Iterator[MakeReplica]:
    """Services over one database, one Redis, one clock and one canned STS. Which database has no say in this."""
    url, clock = sqlite_databases.create(tmp_path), ManualClock()
    aws = boto3.Session(aws_access_key_id="AKIATESTTESTTEST", aws_secret_access_key="test", region_name="us-east-1")
    sts = CannedSts(clock)
    with ExitStack() as stack:
        stack.callback(sts.close)

        def make(**changes: Any) -> Service:
            settings = test_settings(database_url=url, sts_endpoint_url=sts.url, cache_url=redis.url, **changes)
            runtime = build_runtime(settings, clock=clock, aws=aws)
            app = create_app(settings, runtime)
            client = TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50000))
            return Service(app, runtime, stack.enter_context(client), clock, sts)

        yield make


@pytest.fixture
def pair(make_replica: MakeReplica) -> tuple[Service, Service]:
    return make_replica(), make_replica()


def at(replica: Service, device: Device) -> Device:
    """The same device, with another replica behind the load balancer."""
    return dataclasses.replace(device, service=replica)


def vends(replica: Service) -> dict[str, int]:
    sources = ("issued", "memory", "shared", "stale")
    counts = {source: replica.runtime.platform.metrics.vends.labels(source)._value.get() for source in sources}
    return {source: int(count) for source, count in counts.items() if count}


def faults(replica: Service) -> int:
    return int(replica.runtime.platform.metrics.shared_cache_faults._value.get())


def locks(redis: RedisServer) -> list[str]:
    return [key for key in redis.stored() if key.endswith(":lock")]


class Cache(SharedCache):
    """A replica's shared cache alone."""

    def __init__(
        self, redis: RedisServer, clock: ManualClock, secret_key: str = SECRET_KEY, previous: Sequence[str] = ()
    ) -> None:
        self.metrics = Metrics()
        self.vault = Vault(secret_key, previous)
        super().__init__(redis.url, self.vault, clock, self.metrics)


@asynccontextmanager
async def caches(*made: Cache) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for cache in made:
            await cache.close()


def issued(clock: ManualClock, order: Order = ORDER, *, seconds: int = 3600) -> Issued:
    serial = uuid.uuid4()
    credential = StsCredential(
        f"ASIA{serial}", f"secret {serial}", f"token {serial}", clock.now() + timedelta(seconds=seconds), "request"
    )
    return Issued(serial, order, credential, clock.now())


async def never() -> Issued:
    raise AssertionError("asked STS for what is in Redis")


class TestShare:
    def test_another_replica_finds_the_very_same_credential(self, pair: tuple[Service, Service]) -> None:
        first, second = pair
        (device,) = sign_in(first, 1)
        vended = device.vend().json()
        assert at(second, device).vend().json() == vended
        assert at(second, device).vend().json() == vended
        assert len(first.sts.assumed) == 1
        assert first.sql("SELECT count(*) FROM issued_credentials") == [(1,)]
        assert (vends(first), vends(second)) == ({"issued": 1}, {"shared": 1, "memory": 1})

    def test_a_replica_that_starts_later_finds_it(self, make_replica: MakeReplica) -> None:
        first = make_replica()
        (device,) = sign_in(first, 1)
        assert at(make_replica(), device).vend().json() == at(first, device).vend().json()
        assert len(first.sts.assumed) == 1

    def test_while_more_than_half_of_its_life_is_left(self, pair: tuple[Service, Service]) -> None:
        first, second = pair
        (device,) = sign_in(first, 1)
        vended = device.vend().json()
        first.clock.advance(seconds=1800)
        token = first.refresh(device.refresh_token).json()["access_token"]
        device = dataclasses.replace(device, access_token=token)
        renewed = at(second, device).vend().json()
        assert renewed["credential_id"] != vended["credential_id"]
        assert at(first, device).vend().json() == renewed

    def test_a_session_that_has_ended_gets_none_though_it_is_there(
        self, redis: RedisServer, pair: tuple[Service, Service]
    ) -> None:
        first, second = pair
        phone, tablet = (first.device("ada@example.org") for _ in range(2))
        phone.vend()
        assert len(redis.stored()) == 1
        assert tablet.delete(f"/v1/me/sessions/{phone.session_id}").status_code == 204
        answer = at(second, phone).vend()
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
        assert len(redis.stored()) == 1

    def test_a_disabled_user_gets_none_though_it_is_there(
        self, redis: RedisServer, pair: tuple[Service, Service]
    ) -> None:
        first, second = pair
        (device,) = sign_in(first, 1)
        device.vend()
        first.disable(device.email)
        assert at(second, device).vend().json()["code"] == "account_disabled"
        assert len(redis.stored()) == 1

    def test_what_shapes_a_credential_is_the_key(self, redis: RedisServer) -> None:
        """Each member of the order, and of the operator's part in it, changed alone gives another key."""
        clock = ManualClock()
        terms = [
            {"mode": "web_identity"},
            {"role_arn": f"{ROLE_ARN}2"},
            {"external_id": "x"},
            {"policy_arns": ("arn:aws:iam::aws:policy/X",)},
            {"session_tags": ("user_id",)},
            {"transitive_tag_keys": ("user_id",)},
            {"source_identity": False},
            {"saml_provider_arn": "arn:aws:iam::123456789012:saml-provider/x"},
        ]
        changed: list[dict[str, Any]] = [
            {"user_id": uuid.UUID(int=3)},
            {"session_id": uuid.UUID(int=3)},
            {"access": "write"},
            {"prefix": "users/1/a/"},
            {"duration": 900},
            {"policy": "{ }"},
            {"not_before": datetime(2026, 6, 1, tzinfo=UTC)},
            {"purpose": "upload"},
            {"shares": (Share(uuid.UUID(int=4), "users/2/a/", None),)},
            {"shares": (Share(uuid.UUID(int=4), "users/2/a/", None, contributes=True),)},
            {"link_id": uuid.UUID(int=3)},
            {"contributor_id": uuid.UUID(int=3)},
            *({"terms": dataclasses.replace(ORDER.terms, **change)} for change in terms),
        ]
        # A member that is added to an order later needs its line here.
        assert {name for change in changed for name in change} == {field.name for field in dataclasses.fields(Order)}
        assert {name for change in terms for name in change} == {field.name for field in dataclasses.fields(Terms)}

        async def story() -> None:
            cache = Cache(redis, clock)
            async with caches(cache):
                for order in (ORDER, *(dataclasses.replace(ORDER, **change) for change in changed)):
                    own = issued(clock, order)
                    assert await cache.obtain(order, lambda own=own: answer(own)) == own

        asyncio.run(story())
        assert len(redis.stored()) == 1 + len(changed)


async def answer(credential: Issued) -> Issued:
    return credential


class TestShares:
    @pytest.mark.parametrize("cached_in", ["redis", "memory"])
    def test_a_withdrawn_folder_is_handed_out_by_no_replica(
        self, pair: tuple[Service, Service], monkeypatch: pytest.MonkeyPatch, cached_in: str
    ) -> None:
        """Not to a request either that read the grants before the withdrawal, and finds the credential after it."""
        first, second = pair
        ada, bob = first.device("ada@example.org"), first.device("bob@example.org")
        grant = ada.post("/v1/grants", json={"grantee_email": bob.email, "path": "albums/"}).json()
        bob.post(f"/v1/grants/received/{grant['grant_id']}/accept")
        vended = bob.vend(include_shared=True).json()
        assert vended["shared_prefixes"] == [grant["prefix"]]
        if cached_in == "memory":
            assert at(second, bob).vend(include_shared=True).json() == vended
        read, late = receiving.list_shares, []

        async def list_shares(*arguments: Any, **options: Any) -> Any:
            shares = await read(*arguments, **options)
            if not late:
                late.append(await asyncio.to_thread(ada.delete, f"/v1/grants/{grant['grant_id']}"))
                first.clock.advance(seconds=1)
            return shares

        monkeypatch.setattr(receiving, "list_shares", list_shares)
        after = at(second, bob).vend(include_shared=True).json()
        assert late[0].status_code == 202
        assert after["shared_prefixes"] == bob.vend(include_shared=True).json()["shared_prefixes"] == []


class TestSecrecy:
    def test_redis_learns_neither_keys_nor_users(self, redis: RedisServer, pair: tuple[Service, Service]) -> None:
        first, second = pair
        (device,) = sign_in(first, 1)
        vended = device.vend(path="albums/").json()
        at(second, device).vend(path="albums/")
        told = [
            *(vended[name] for name in ("access_key_id", "secret_access_key", "session_token", "credential_id")),
            *(device.user_id, device.user_id.replace("-", ""), device.session_id, device.email),
            *("albums", "photos", ROLE_ARN, first.sts.assumed[0]["RoleSessionName"]),
        ]
        (key,) = redis.stored()
        value = redis.client.get(key)
        assert len(value) > len(str(vended["session_token"]))
        for text in told:
            assert text not in key
            assert text.encode() not in value

    def test_it_leaves_redis_while_ten_minutes_are_left(
        self, redis: RedisServer, pair: tuple[Service, Service]
    ) -> None:
        first, _ = pair
        (device,) = sign_in(first, 1)
        for seconds in (3600, 900):
            redis.client.flushall()
            assert device.vend(duration_seconds=seconds).status_code == 200
            (key,) = redis.stored()
            assert 0 < redis.client.ttl(key) <= seconds - 600

    def test_a_value_moved_to_another_key_is_not_accepted(self, redis: RedisServer) -> None:
        clock = ManualClock()
        theirs = dataclasses.replace(ORDER, user_id=uuid.UUID(int=9))

        async def story() -> None:
            cache = Cache(redis, clock)
            async with caches(cache):
                await cache.obtain(theirs, lambda: answer(issued(clock, theirs)))
                (source,) = redis.stored()
                await cache.obtain(ORDER, lambda: answer(issued(clock)))
                (target,) = redis.stored() - {source}
                redis.client.copy(source, target, replace=True)
                mine = issued(clock)
                assert await cache.obtain(ORDER, lambda: answer(mine)) == mine

        asyncio.run(story())

    def test_another_secret_key_reads_nothing_and_goes_on_alone(self, redis: RedisServer) -> None:
        clock = ManualClock()

        async def story() -> None:
            cache, stranger = Cache(redis, clock), Cache(redis, clock, secret_key="x" * 32)
            async with caches(cache, stranger):
                ours, theirs = issued(clock), issued(clock)
                await cache.obtain(ORDER, lambda: answer(ours))
                (our_key,) = redis.stored()
                assert await stranger.obtain(ORDER, lambda: answer(theirs)) == theirs
                (their_key,) = redis.stored() - {our_key}
                redis.client.copy(our_key, their_key, replace=True)  # even where it would look
                assert await stranger.obtain(ORDER, lambda: answer(theirs)) == theirs
                assert await cache.obtain(ORDER, never) == ours

        asyncio.run(story())

    def test_what_the_previous_secret_key_sealed_is_found_while_keys_change(self, redis: RedisServer) -> None:
        """By a replica that writes with the new key, and the other way round by one that does not yet."""
        clock, other = ManualClock(), dataclasses.replace(ORDER, session_id=uuid.UUID(int=3))

        async def story() -> None:
            before = Cache(redis, clock)
            ahead, behind = (Cache(redis, clock, "n" * 32, [SECRET_KEY]) for _ in range(2))
            ahead.vault.write_with(Vault("n" * 32).writes_with)
            async with caches(before, ahead, behind):
                old, new = issued(clock), issued(clock, other)
                await before.obtain(ORDER, lambda: answer(old))
                assert await ahead.obtain(ORDER, never) == old
                assert await behind.obtain(ORDER, never) == old
                await ahead.obtain(other, lambda: answer(new))
                assert await behind.obtain(other, never) == new

        asyncio.run(story())

    @pytest.mark.parametrize("garbage", [b"", b"\x00", b"garbage" * 100, b'{"credential": {}}'])
    def test_garbage_is_ignored_and_replaced(
        self, redis: RedisServer, pair: tuple[Service, Service], garbage: bytes
    ) -> None:
        first, second = pair
        (device,) = sign_in(first, 1)
        device.vend()
        (key,) = redis.stored()
        redis.client.set(key, garbage)
        replaced = at(second, device).vend()
        assert replaced.status_code == 200
        assert replaced.json()["access_key_id"] == "ASIACANNED0000000002"
        assert redis.client.get(key) != garbage
        assert faults(second) == 0

    @pytest.mark.parametrize("members", [b"[]", b"7", b"{}", b'{"credential": {"expires_at": "soon"}}', b"not JSON"])
    def test_what_another_version_wrote_is_ignored(
        self, redis: RedisServer, pair: tuple[Service, Service], members: bytes
    ) -> None:
        """Replicas of two versions run side by side during a deployment."""
        first, second = pair
        (device,) = sign_in(first, 1)
        device.vend()
        (key,) = redis.stored()
        redis.client.set(key, first.runtime.platform.vault.encrypt(kinds.VENDED_CREDENTIAL, members, bound_to=key))
        assert at(second, device).vend().json()["access_key_id"] == "ASIACANNED0000000002"


class TestSingleFlight:
    def test_of_many_replicas_one_asks(self, redis: RedisServer) -> None:
        clock, asked = ManualClock(), 0

        async def story() -> list[Issued]:
            made = [Cache(redis, clock) for _ in range(5)]

            async def issue() -> Issued:
                nonlocal asked
                asked += 1
                await asyncio.sleep(0.1)  # for so long the others find neither credential nor lock
                return issued(clock)

            async with caches(*made):
                return await asyncio.gather(*(cache.obtain(ORDER, issue) for cache in made))

        assert len({credential.credential_id for credential in asyncio.run(story())}) == 1
        assert asked == 1
        assert not locks(redis)

    def test_who_gets_the_lock_of_one_that_has_just_finished_looks_again(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ManualClock()

        async def story() -> None:
            first, second = Cache(redis, clock), Cache(redis, clock)
            async with caches(first, second):
                own, set_key = issued(clock), second._redis.set

                async def late(*arguments: Any, **options: Any) -> Any:
                    """Between the second's look and its lock the first does it all."""
                    await first.obtain(ORDER, lambda: answer(own))
                    return await set_key(*arguments, **options)

                monkeypatch.setattr(second._redis, "set", late)
                assert await second.obtain(ORDER, never) == own
                assert len(redis.stored()) == 1

        asyncio.run(story())

    def test_another_takes_over_where_the_holder_dies(self, redis: RedisServer) -> None:
        """Its lock expires. And where it was not dead but slow, it leaves the other's lock alone."""
        clock = ManualClock()

        async def story() -> None:
            slow, second = Cache(redis, clock), Cache(redis, clock)
            asked, go_on, lock_seen = (asyncio.Event() for _ in range(3))
            taken_over, late = issued(clock), issued(clock)

            async def hang() -> Issued:
                asked.set()
                await go_on.wait()
                return late

            async def take_over() -> Issued:
                lock_seen.set()
                go_on.set()
                assert await holder == late  # it is through, and has let go of what it thought its lock
                assert locks(redis)
                return taken_over

            async with caches(slow, second):
                holder = asyncio.create_task(slow.obtain(ORDER, hang))
                await asked.wait()
                waiter = asyncio.create_task(second.obtain(ORDER, take_over))
                (lock,) = redis.stored()
                assert 0 < redis.client.pttl(lock) <= LOCK_TTL * 1000
                redis.client.pexpire(lock, 1)
                assert await asyncio.wait_for(waiter, 10) == taken_over
                assert lock_seen.is_set()
                assert not locks(redis)

        asyncio.run(story())

    @pytest.mark.parametrize("failure", [StsUnavailable(), InvalidToken(), RuntimeError()])
    def test_a_holders_failure_is_not_kept_and_the_waiter_tries_itself(
        self, redis: RedisServer, failure: Exception
    ) -> None:
        clock = ManualClock()

        async def story() -> None:
            first, second = Cache(redis, clock), Cache(redis, clock)
            asked, fail = asyncio.Event(), asyncio.Event()

            async def failing() -> Issued:
                asked.set()
                await fail.wait()
                raise failure

            async with caches(first, second):
                own = issued(clock)
                holder = asyncio.create_task(first.obtain(ORDER, failing))
                await asked.wait()
                waiter = asyncio.create_task(second.obtain(ORDER, lambda: answer(own)))
                fail.set()
                with pytest.raises(type(failure)):
                    await holder
                assert await asyncio.wait_for(waiter, LOCK_TTL / 2) == own  # long before the lock would expire
                assert await first.obtain(ORDER, never) == own

        asyncio.run(story())

    def test_a_thousand_orders_at_once_are_no_fault(self, redis: RedisServer) -> None:
        """An app start: none of them fails for want of a connection to Redis."""
        clock = ManualClock()
        orders = [dataclasses.replace(ORDER, user_id=uuid.UUID(int=number)) for number in range(1000)]

        async def story() -> None:
            cache = Cache(redis, clock)
            patient = {"socket_timeout": 30, "socket_connect_timeout": 30}  # how fast is not asked here
            cache._redis.connection_pool.connection_kwargs.update(patient)
            async with caches(cache):
                await asyncio.gather(*(cache.obtain(order, lambda: answer(issued(clock))) for order in orders))
                assert cache.metrics.shared_cache_faults._value.get() == 0

        asyncio.run(story())
        assert len(redis.stored()) == 1000


def refusing(redis: RedisServer) -> None:
    redis.client.config_set("maxmemory", "1")


def restore(redis: RedisServer) -> None:
    redis.client.config_set("maxmemory", "0")


def lost_its_password(redis: RedisServer) -> None:
    """New connections are refused; the test's own stays, and so do those that the service has."""
    redis.client.config_set("requirepass", "another")
    redis.client.client_kill_filter(_type="normal", skipme=True)


def found_its_password(redis: RedisServer) -> None:
    redis.client.config_set("requirepass", "")


FAULTS = pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        pytest.param(RedisServer.kill, RedisServer.start, id="stopped"),
        pytest.param(RedisServer.freeze, RedisServer.thaw, id="frozen"),
        pytest.param(refusing, restore, id="full"),
        pytest.param(lost_its_password, found_its_password, id="another password"),
    ],
)
Fault = Callable[[RedisServer], None]


class TestFault:
    @FAULTS
    def test_a_replica_goes_on_alone_and_comes_back(
        self, redis: RedisServer, pair: tuple[Service, Service], break_it: Fault, mend_it: Fault
    ) -> None:
        first, second = pair
        (device,) = sign_in(first, 1)
        assert device.vend(path="before/").status_code == 200
        break_it(redis)
        assert device.vend(path="a/").status_code == 200
        assert vends(first) == {"issued": 2}
        counted = faults(first)
        assert counted >= 1
        # Left alone: the next ones do not even ask, so nothing can fail.
        assert [device.vend(path=path).status_code for path in ("b/", "c/")] == [200, 200]
        assert faults(first) == counted
        mend_it(redis)
        before = redis.stored()
        assert device.vend(path="d/").status_code == 200
        assert redis.stored() == before
        first.clock.advance(seconds=AVOIDED_FOR)
        vended = device.vend(path="e/").json()
        assert len(redis.stored() - before) == 1
        assert at(second, device).vend(path="e/").json() == vended
        assert faults(first) == counted
        assert "tokenvend_shared_cache_faults_total" in first.client.get("/metrics").text

    def test_it_is_asked_again_after_each_pause(self, redis: RedisServer, pair: tuple[Service, Service]) -> None:
        first, _ = pair
        (device,) = sign_in(first, 1)
        redis.kill()
        for number in range(1, 4):
            assert device.vend(path=f"{number}/").status_code == 200
            assert faults(first) == number
            first.clock.advance(seconds=AVOIDED_FOR)

    def test_a_crowd_waits_for_a_frozen_one_together(self, redis: RedisServer, pair: tuple[Service, Service]) -> None:
        """Those that wait behind the first fault do not meet it again, one time-out after the other."""
        first, _ = pair
        devices = sign_in(first, 200)
        redis.freeze()

        async def crowd(client: AsyncClient) -> list[Any]:
            return await asyncio.gather(*(client.post("/v1/credentials", headers=d.headers) for d in devices))

        answers = on_loop_of(first, crowd)
        redis.thaw()
        assert {answer.status_code for answer in answers} == {200}
        assert vends(first) == {"issued": 200}
        assert 1 <= faults(first) <= 50

    def test_it_breaks_while_another_replica_issues(self, redis: RedisServer) -> None:
        """Who waits for the other's credential stops waiting."""
        clock = ManualClock()

        async def story() -> None:
            first, second = Cache(redis, clock), Cache(redis, clock)
            asked, go_on = asyncio.Event(), asyncio.Event()
            one, other = issued(clock), issued(clock)

            async def slowly() -> Issued:
                asked.set()
                await go_on.wait()
                return one

            async with caches(first, second):
                holder = asyncio.create_task(first.obtain(ORDER, slowly))
                await asked.wait()
                waiter = asyncio.create_task(second.obtain(ORDER, lambda: answer(other)))
                redis.kill()
                assert await asyncio.wait_for(waiter, 30) == other
                go_on.set()
                assert await asyncio.wait_for(holder, 30) == one

        asyncio.run(story())


class Impostor(socketserver.StreamRequestHandler):
    """Answers every line with the same."""

    says = b""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.rfile.readline():
                self.wfile.write(self.says)


class TestImpostor:
    @pytest.mark.parametrize("says", [b"hello\r\n", b":abc\r\n", b",xx\r\n", b"*1\r\n" * 3000, b"_\r\n"])
    def test_a_replica_goes_on_alone(self, says: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another server's port, or a Redis that gives no lock and never has anything."""
        monkeypatch.setattr(Impostor, "says", says)
        monkeypatch.setattr(replica_cache, "LONGEST_WAIT", 0.5)
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Impostor) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            clock = ManualClock()
            own = issued(clock)

            async def story() -> None:
                url = f"redis://127.0.0.1:{server.server_address[1]}"
                cache = SharedCache(url, Vault("x" * 40), clock, Metrics())
                try:
                    assert await asyncio.wait_for(cache.obtain(ORDER, lambda: answer(own)), 60) == own
                finally:
                    await cache.close()

            asyncio.run(story())
            server.shutdown()

    def test_is_waited_for_about_as_long_as_an_issuance(self) -> None:
        assert replica_cache.LONGEST_WAIT == 5


class TestStale:
    """STS gives none: what there is, as long as more than ten minutes of it are left."""

    def signed_in(self, replica: Service, *, elapsed: int) -> tuple[Device, dict[str, Any]]:
        """A device whose credential of an hour is so many seconds old, and the credential."""
        (device,) = sign_in(replica, 1)
        vended = device.vend().json()
        replica.clock.advance(seconds=elapsed)
        token = replica.refresh(device.refresh_token).json()["access_token"]
        return dataclasses.replace(device, access_token=token), vended

    def test_memorys_is_served_while_more_than_ten_minutes_are_left(
        self, redis: RedisServer, pair: tuple[Service, Service]
    ) -> None:
        first, _ = pair
        device, vended = self.signed_in(first, elapsed=2999)
        redis.client.flushall()
        first.sts.answer_only("GetCallerIdentity")
        assert device.vend().json()["credential_id"] == vended["credential_id"]
        assert vends(first) == {"issued": 1, "stale": 1}
        assert device.vend().json()["expires_in"] == 601
        first.clock.advance(seconds=1)
        assert device.vend().json()["code"] == "sts_refused"

    def test_redis_is_served_while_more_than_ten_minutes_are_left(
        self, redis: RedisServer, pair: tuple[Service, Service]
    ) -> None:
        first, second = pair
        device, vended = self.signed_in(first, elapsed=2999)
        first.sts.answer_only("GetCallerIdentity")
        assert at(second, device).vend().json()["credential_id"] == vended["credential_id"]
        assert vends(second) == {"stale": 1}
        first.clock.advance(seconds=1)
        third = at(second, device).vend()
        assert (third.status_code, third.json()["code"]) == (503, "sts_refused")
        assert vends(second) == {"stale": 1}

    def test_an_sdk_gets_redis_while_sts_is_slow(self, pair: tuple[Service, Service]) -> None:
        """It waits for a second, and another replica's is as good."""
        first, second = pair
        device, vended = self.signed_in(first, elapsed=2999)
        answers = threading.Event()
        first.sts.before_answer = lambda form: hold(answers, most=3)
        older = at(second, device).get("/v1/credentials/container").json()
        assert older["AccessKeyId"] == vended["access_key_id"]
        assert vends(second) == {"stale": 1}
        answers.set()

    def test_redis_serves_none_with_less_to_a_replica_that_starts(
        self, redis: RedisServer, make_replica: MakeReplica
    ) -> None:
        first = make_replica()
        device, _ = self.signed_in(first, elapsed=3000)
        assert len(redis.stored()) == 1  # its clock has not moved with ours
        first.sts.answer_only("GetCallerIdentity")
        assert at(make_replica(), device).vend().status_code == 503

    def test_memorys_is_served_where_redis_is_gone_too(self, redis: RedisServer, pair: tuple[Service, Service]) -> None:
        first, _ = pair
        device, vended = self.signed_in(first, elapsed=2000)
        first.sts.answer_only("GetCallerIdentity")
        redis.kill()
        assert device.vend().json()["credential_id"] == vended["credential_id"]
        assert vends(first) == {"issued": 1, "stale": 1}

    def test_a_new_one_is_issued_once_sts_is_back(self, pair: tuple[Service, Service]) -> None:
        first, second = pair
        device, vended = self.signed_in(first, elapsed=2000)
        first.sts.fail("AccessDenied", 403)
        assert at(second, device).vend().json()["credential_id"] == vended["credential_id"]
        renewed = at(second, device).vend().json()
        assert renewed["credential_id"] != vended["credential_id"]
        assert at(first, device).vend().json() == renewed

    @pytest.mark.parametrize(
        ("statement", "code"),
        [
            ("UPDATE sessions SET ended_at = '2026-06-01 12:00:00'", "invalid_token"),
            ("UPDATE users SET status = 'disabled'", "account_disabled"),
        ],
    )
    def test_not_where_the_ledger_refuses(self, pair: tuple[Service, Service], statement: str, code: str) -> None:
        """The session ends, or the user is disabled, while STS works: memory and Redis both have an older one."""
        first, second = pair
        device, _ = self.signed_in(first, elapsed=2000)
        first.sts.before_answer = lambda form: first.sql(statement) and None
        for replica in (first, second):
            refused = at(replica, device).vend()
            assert refused.json()["code"] == code
            assert "ASIA" not in refused.text
            assert vends(replica).get("stale") is None
