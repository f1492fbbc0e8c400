"""How often each thing may be done: windows in memory, in a real Redis, and what is counted as one client."""

import asyncio
import contextlib
import socketserver
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from limits import parse

from app.crypto.vault import Vault
from app.platform.clock import Clock
from app.platform.limits import (
    AVOIDED_FOR,
    LIMITS,
    Limiter,
    LimitName,
    LocalWindows,
    SharedWindows,
    account_key,
    address_key,
    make_limiter,
)
from app.platform.metrics import Metrics
from app.platform.problems import RateLimited
from app.platform.redis_guard import CONCURRENT_COMMANDS, RedisGuard
from app.platform.settings import SettingsError
from tests.security.observed import assert_problem
from tests.support.clock import ManualClock
from tests.support.logged import capture_logs
from tests.support.redis import RedisServer, redis_server
from tests.support.service import Service

DAY = 86_400
GUESSES = parse(LIMITS["guess"].amount).amount
KEY = "somebody"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def make_on_redis(redis: RedisServer, make_service: Callable[..., Service]) -> Callable[[], Service]:
    return lambda: make_service(rate_limits="on", rate_limit_url=redis.url)


@asynccontextmanager
async def limiter(url: str, clock: Clock, metrics: Metrics | None = None) -> AsyncIterator[Limiter]:
    made = make_limiter(url, clock, metrics or Metrics(), enabled=True)
    try:
        yield made
    finally:
        await made.close()


async def passed(counting: Limiter, name: LimitName, tries: int, key: str = KEY) -> int:
    """How many of so many hits in a row were not refused."""
    return sum([await refusal(counting, name, key) is None for _ in range(tries)])


async def refusal(counting: Limiter, name: LimitName, key: str = KEY) -> int | None:
    """None, or what a refused caller is told to wait."""
    try:
        await counting.hit(name, key)
    except RateLimited as problem:
        return problem.retry_after or 0
    return None


class TestWindowsInMemory:
    @pytest.mark.parametrize("name", LIMITS)
    def test_as_many_pass_as_the_table_says(self, name: LimitName) -> None:
        item = parse(LIMITS[name].amount)

        async def count() -> None:
            async with limiter("memory://", ManualClock()) as counting:
                assert await passed(counting, name, item.amount + 20) == item.amount
                assert await passed(counting, name, 1, "somebody else") == 1
                assert await refusal(counting, name) == item.get_expiry()

        asyncio.run(count())

    def test_a_window_ends_as_long_after_its_first_hit(self) -> None:
        clock = ManualClock()

        async def count() -> None:
            async with limiter("memory://", clock) as counting:
                assert await passed(counting, "log_in", 30) == 30
                clock.advance(seconds=40)
                assert await passed(counting, "log_in", 31) == 30
                assert await refusal(counting, "log_in") == 20
                clock.advance(seconds=19.5)
                assert await refusal(counting, "log_in") == 1
                clock.advance(seconds=0.5)
                assert await passed(counting, "log_in", 61) == 60

        asyncio.run(count())

    def test_the_injected_clock_is_the_one_they_count_by(self) -> None:
        """And its monotonic one: a wall clock that is set neither opens nor closes a window."""
        clock = ManualClock()

        async def count() -> None:
            async with limiter("memory://", clock) as counting:
                assert await passed(counting, "log_in", 61) == 60
                clock._now = clock._now.replace(year=2036)
                assert await refusal(counting, "log_in") == 60
                clock.advance(seconds=60)
                assert await refusal(counting, "log_in") is None

        asyncio.run(count())

    def test_guesses_a_few_each_day_are_in_a_row_too(self) -> None:
        """The window is renewed by each guess that counts, and by no refused one."""
        clock = ManualClock()

        async def count() -> None:
            async with limiter("memory://", clock) as counting:
                for _ in range(GUESSES // 10):
                    assert await passed(counting, "guess", 10) == 10
                    clock.advance(hours=23)
                assert await refusal(counting, "guess") == 3600
                clock.advance(minutes=30)
                assert await refusal(counting, "guess") == 1800
                clock.advance(minutes=30)
                assert await refusal(counting, "guess") is None

        asyncio.run(count())

    def test_clearing_forgets_what_was_counted(self) -> None:
        async def count() -> None:
            async with limiter("memory://", ManualClock()) as counting:
                assert await passed(counting, "guess", GUESSES + 1) == GUESSES
                assert await passed(counting, "guess", 1, "somebody else") == 1
                await counting.clear("guess", KEY)
                await counting.clear("guess", "nobody")
                assert await passed(counting, "guess", GUESSES + 1) == GUESSES

        asyncio.run(count())

    def test_what_is_taken_back_was_never_counted(self) -> None:
        async def count() -> None:
            async with limiter("memory://", ManualClock()) as counting:
                await counting.take_back("guess", KEY)
                for _ in range(3):
                    assert await passed(counting, "guess", 1) == 1
                    await counting.take_back("guess", KEY)
                assert await passed(counting, "guess", GUESSES + 1) == GUESSES

        asyncio.run(count())

    def test_newcomers_together_get_half_of_what_sts_takes(self) -> None:
        """VC12: the other half is left to those who have accounts."""

        async def count() -> None:
            for quota, half in ((600, 300), (20, 10), (2, 1)):
                counting = make_limiter("memory://", ManualClock(), Metrics(), enabled=True, sts_quota=quota)
                assert await passed(counting, "new_credential_for_newcomers", quota) == half

        asyncio.run(count())

    def test_newcomers_of_a_hundred_addresses_leave_a_third_of_that(self) -> None:
        """VC12: whatever they do, a newcomer elsewhere gets something within moments."""

        async def count() -> None:
            for quota in (600, 3000, 150):
                counting = make_limiter("memory://", ManualClock(), Metrics(), enabled=True, sts_quota=quota)
                of_an_address = await passed(counting, "new_credential_of_newcomers_from", quota)
                assert of_an_address * 100 / 10 == quota / 3

        asyncio.run(count())

    def test_off_means_off(self) -> None:
        async def count() -> None:
            counting = make_limiter("memory://", ManualClock(), Metrics(), enabled=False)
            assert await passed(counting, "guess", 1000) == 1000

        asyncio.run(count())


class TestMemory:
    def test_what_has_ended_is_forgotten(self) -> None:
        clock = ManualClock()
        windows, item = LocalWindows(clock, Metrics()), parse("60/minute")
        for number in range(1000):
            windows.hit("log_in", str(number), item)
        clock.advance(seconds=61)
        for number in range(1000, 1100):  # each forgets a few: no request pays for the whole crowd
            windows.hit("log_in", str(number), item)
        assert len(windows) == 100

    def test_a_flood_of_addresses_has_a_bound(self) -> None:
        metrics = Metrics()
        windows, item = LocalWindows(ManualClock(), metrics, most=500), parse("60/minute")
        for number in range(5000):
            windows.hit("log_in", str(number), item)
        assert len(windows) == 500
        assert metrics.limits_forgotten.labels("log_in")._value.get() == 4500

    def test_it_does_not_make_an_account_forgotten_that_is_guessed_at(self) -> None:
        """What is dropped for want of room is what was hit least: the flood's own keys."""
        windows, item = LocalWindows(ManualClock(), Metrics(), most=100), parse("100/day")
        for _ in range(99):
            assert windows.hit("guess", "victim", item) is None
        for number in range(10_000):
            windows.hit("guess", str(number), item)
        assert windows.hit("guess", "victim", item) is None
        assert windows.hit("guess", "victim", item) == DAY

    def test_a_full_table_costs_what_is_documented(self) -> None:
        windows, item = LocalWindows(ManualClock(), Metrics()), parse("100/day")
        tracemalloc.start()
        try:
            for number in range(10_000):
                windows.hit("guess", f"{number:064x}", item)
            bytes_each = tracemalloc.get_traced_memory()[0] / 10_000
        finally:
            tracemalloc.stop()
        assert bytes_each < 450

    def test_it_starts_no_thread(self) -> None:
        threads = threading.active_count()
        windows, item = LocalWindows(ManualClock(), Metrics()), parse("60/minute")
        for number in range(1000):
            windows.hit("log_in", str(number), item)
        assert threading.active_count() == threads


class TestRedis:
    def test_replicas_count_together(self, redis: RedisServer) -> None:
        async def count() -> None:
            clock = ManualClock()
            async with limiter(redis.url, clock) as one, limiter(redis.url, clock) as other:
                assert await passed(one, "log_in", 40) == 40
                assert await passed(other, "log_in", 40) == 20
                assert 58 <= (await refusal(one, "log_in") or 0) <= 60
                assert await passed(other, "log_in", 1, "somebody else") == 1
                assert await passed(other, "guess", GUESSES + 1) == GUESSES
                await one.clear("guess", KEY)
                assert await passed(other, "guess", GUESSES + 1) == GUESSES

        asyncio.run(count())

    def test_what_is_taken_back_was_never_counted(self, redis: RedisServer) -> None:
        async def count() -> None:
            clock = ManualClock()
            async with limiter(redis.url, clock) as one, limiter(redis.url, clock) as other:
                await one.take_back("guess", KEY)  # which makes no counter that never ends
                for _ in range(3):
                    assert await passed(one, "guess", 1) == 1
                    await other.take_back("guess", KEY)
                assert await passed(other, "guess", GUESSES + 1) == GUESSES

        asyncio.run(count())

    def test_parallel_hits_are_each_counted(self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """More at once than Redis gets connections, over two replicas."""
        monkeypatch.setattr("app.platform.limits.TIMEOUT", 10)  # a busy machine is not what this is about

        async def count() -> None:
            clock = ManualClock()
            async with limiter(redis.url, clock) as one, limiter(redis.url, clock) as other:
                tries = [refusal(one, "guess") for _ in range(200)] + [refusal(other, "guess") for _ in range(200)]
                assert sum([answer is None for answer in await asyncio.gather(*tries)]) == GUESSES

        asyncio.run(count())

    def test_each_key_expires_by_itself(self, redis: RedisServer) -> None:
        """A guess renews its window; what is stored ends with it."""

        async def count() -> None:
            lasting = [name for name, limit in LIMITS.items() if parse(limit.amount).get_expiry() > 1]
            async with limiter(redis.url, ManualClock()) as counting:
                for name in lasting:
                    await counting.hit(name, KEY)
                assert len(redis.stored()) == len(lasting)
                for key in redis.stored():
                    assert 0 < redis.client.ttl(key) <= DAY
                (guesses,) = (key for key in redis.stored() if "/guess/" in key)
                redis.client.expire(guesses, 100)
                await counting.hit("guess", KEY)
                assert redis.client.ttl(guesses) > DAY - 10
                redis.client.set(guesses, 100, keepttl=True)
                redis.client.expire(guesses, 100)
                assert 95 <= (await refusal(counting, "guess") or 0) <= 100
                assert redis.client.ttl(guesses) <= 100

        asyncio.run(count())

    def test_a_hit_is_one_round_trip(self, redis: RedisServer) -> None:
        """Whether it passes, renews its window or is refused."""

        async def count() -> None:
            async with limiter(redis.url, ManualClock()) as counting:
                await counting.hit("issue_credentials", "the first connects")
                redis.client.config_resetstat()
                await passed(counting, "guess", GUESSES + 10)
                calls = {name: stat["calls"] for name, stat in redis.client.info("commandstats").items()}
                within = {"cmdstat_incr", "cmdstat_pttl", "cmdstat_expire"}
                assert calls.pop("cmdstat_eval") == GUESSES + 10
                assert calls.keys() - within <= {"cmdstat_info", "cmdstat_config|resetstat"}

        asyncio.run(count())

    def test_no_account_is_in_it_by_name(self, redis: RedisServer, make_on_redis: Callable[[], Service]) -> None:
        make_on_redis().log_in("ada@example.org", "some other password")
        assert len(redis.stored()) == 2
        assert "ada" not in "".join(redis.stored())


class TestRedisFull:
    def test_a_replica_counts_by_itself_and_forgets_nothing(self, redis: RedisServer) -> None:
        """With `noeviction` a full server refuses what it has no room for, and keeps what it has."""
        metrics = Metrics()

        async def count() -> None:
            async with limiter(redis.url, ManualClock(), metrics) as counting:
                assert await passed(counting, "log_in", 60) == 60
                redis.client.config_set("maxmemory-policy", "noeviction")
                redis.client.config_set("maxmemory", "1")
                with capture_logs() as logs:
                    assert await passed(counting, "guess", 200) == GUESSES
                assert [(entry["event"], entry["cause"]) for entry in logs] == [
                    ("shared_limits_away", "OutOfMemoryError")
                ]
                assert metrics.limits_local._value.get() == 1
                assert len(redis.stored()) == 1, "what it has counted stays"

        asyncio.run(count())


class TestRedisAway:
    """Section 5 of the security checklist: a local limiter, bounded, never silently unlimited."""

    def test_a_replica_counts_by_itself(self, redis: RedisServer) -> None:
        metrics, clock = Metrics(), ManualClock()

        async def count() -> None:
            async with limiter(redis.url, clock, metrics) as counting:
                assert await passed(counting, "log_in", 60) == 60
                redis.kill()
                with capture_logs() as logs:
                    assert await passed(counting, "log_in", 100) == 60
                    assert await passed(counting, "guess", 200) == GUESSES
                    await counting.clear("guess", KEY)
                    assert await passed(counting, "guess", 1) == 1
                    clock.advance(seconds=AVOIDED_FOR)
                    assert await passed(counting, "guess", 200) == GUESSES - 1
                assert [entry["event"] for entry in logs] == ["shared_limits_away"]
                assert logs[0]["log_level"] == "error"
                assert metrics.limits_local._value.get() == 1

        asyncio.run(count())

    def test_it_goes_back_when_redis_does(self, redis: RedisServer) -> None:
        metrics, clock = Metrics(), ManualClock()

        async def count() -> None:
            async with limiter(redis.url, clock, metrics) as counting:
                redis.kill()
                await counting.hit("log_in", KEY)
                redis.start()
                await counting.hit("log_in", KEY)
                assert redis.stored() == set()
                clock.advance(seconds=AVOIDED_FOR)
                with capture_logs() as logs:
                    await asyncio.gather(*(counting.hit("log_in", KEY) for _ in range(20)))
                    await counting.hit("log_in", KEY)
                assert [entry["event"] for entry in logs] == ["shared_limits_back"]
                assert len(redis.stored()) == 1
                assert metrics.limits_local._value.get() == 0

        asyncio.run(count())

    def test_a_frozen_one_costs_one_time_out_each_few_seconds(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those who ask at that moment wait for it together; later one tries, and the others do not wait."""
        clock, faults, go_alone = ManualClock(), [], SharedWindows._go_alone

        def note(windows: SharedWindows, fault: Exception) -> None:
            faults.append(fault)
            go_alone(windows, fault)

        monkeypatch.setattr(SharedWindows, "_go_alone", note)

        async def crowd(counting: Limiter) -> float:
            loop = asyncio.get_running_loop()
            started_at = loop.time()
            await asyncio.gather(*(refusal(counting, "log_in", str(number)) for number in range(500)))
            return loop.time() - started_at

        async def count() -> None:
            async with limiter(redis.url, clock) as counting:
                await counting.hit("log_in", KEY)
                redis.freeze()
                assert await crowd(counting) < 2  # of 200 ms each, one after the other, it would be 100 s
                assert len(faults) == CONCURRENT_COMMANDS
                for tries in (1, 2, 3):
                    clock.advance(seconds=AVOIDED_FOR)
                    assert await crowd(counting) < 2
                    assert len(faults) == CONCURRENT_COMMANDS + tries
                redis.thaw()

        asyncio.run(count())

    def test_one_that_refuses_is_as_good_as_gone(self, redis: RedisServer) -> None:
        """Out of memory, or a read-only replica: it answers, and counts nothing."""

        async def count() -> None:
            async with limiter(redis.url, ManualClock()) as counting:
                redis.client.config_set("maxmemory", 1)
                assert await passed(counting, "log_in", 100) == 60

        asyncio.run(count())

    @pytest.mark.parametrize("says", [b"hello\r\n", b":abc\r\n", b"*1\r\n" * 3000])
    def test_another_servers_port_is_as_good_as_gone(self, says: bytes) -> None:
        """What the package's parser stumbles on fails no request."""

        class Impostor(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    while self.rfile.readline():
                        self.wfile.write(says)

        async def count(url: str) -> None:
            async with limiter(url, ManualClock()) as counting:
                assert await passed(counting, "log_in", 100) == 60

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Impostor) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            asyncio.run(count(f"redis://127.0.0.1:{server.server_address[1]}"))
            server.shutdown()

    @pytest.mark.parametrize(
        ("url", "names"),
        [
            ("redis://127.0.0.1:9?ssl_cert_reqs=none", "`ssl_cert_reqs` in its URL"),  # redis/redis-py#3217
            ("redis://127.0.0.1:9/0?timeout=3", "`timeout` in its URL"),
            ("redis://127.0.0.1:9/0?health_check_interval=soon", "`health_check_interval` in its URL"),
            ("redis+cluster://127.0.0.1:9?timeout=3", "`timeout` in its URL"),
            ("redis://:violet#tractor@127.0.0.1:9", "must be a URL such as"),
        ],
    )
    def test_a_url_that_the_package_cannot_use_stops_the_start(
        self, make_service: Callable[..., Service], url: str, names: str
    ) -> None:
        """Otherwise all is ready, and each request that counts something fails."""
        for setting in ("rate_limit_url", "cache_url"):
            with pytest.raises(SettingsError, match=f"^TOKENVEND_{setting.upper()}: ") as refused:
                make_service(rate_limits="on", **{setting: url})
            assert names in str(refused.value)
            assert "violet" not in str(refused.value)

    def test_the_url_changes_nothing_that_the_service_relies_on(self) -> None:
        url = "redis://127.0.0.1:9?socket_timeout=600&decode_responses=true&client_name=photos"

        async def options() -> dict[str, Any]:
            guard = RedisGuard("CACHE_URL", url, ManualClock(), timeout=0.5, pause=1.0, on_fault=lambda _: None)
            try:
                return dict(guard.client.connection_pool.connection_kwargs)
            finally:
                await guard.close()

        found = asyncio.run(options())
        assert (found["socket_timeout"], found["client_name"]) == (0.5, "photos")
        assert "decode_responses" not in found

    def test_sign_in_and_vend_go_on(self, redis: RedisServer, make_on_redis: Callable[[], Service]) -> None:
        service = make_on_redis()
        device = service.device()
        redis.kill()
        assert device.vend().status_code == 200
        assert service.log_in(device.email).status_code == 200
        answers = [service.log_in(device.email, "some other password") for _ in range(60)]
        assert {answer.status_code for answer in answers[:-1]} == {401}
        assert_problem(answers[-1], 429, "rate_limited")
        assert "tokenvend_limits_local 1.0" in service.client.get("/metrics").text


ADDRESSES = {
    "203.0.113.7": "203.0.113.7",
    "::ffff:203.0.113.7": "203.0.113.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
    "2001:DB8:1:2::1": "2001:db8:1:2::",
    "2001:db8:1:3::1": "2001:db8:1:3::",
    "::1": "::",
    "fe80::1%eth0": "fe80::",
    "": "",
    "testclient": "testclient",
}


class TestKeys:
    @pytest.mark.parametrize("address", ADDRESSES)
    def test_an_ipv6_network_of_64_bits_is_one_client(self, address: str) -> None:
        """HT8: as many addresses as a household has are still one."""
        assert address_key(address) == ADDRESSES[address]

    def test_accounts_are_digests(self) -> None:
        vault = Vault("k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s")
        (one,), (other,) = account_key(vault, "ada@example.org"), account_key(vault, "bob@example.org")
        assert one != other
        assert len(one) == 64
        assert account_key(vault, "\ud800")[0].isalnum()
