"""Redis servers that fail over, refuse, belong to a cluster, or ask for TLS and a name."""

import asyncio
import socketserver
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from app.aws.sts_client import StsCredential
from app.crypto.vault import Vault
from app.engine.certificate import self_signed
from app.platform.limits import AVOIDED_FOR, Limiter, make_limiter
from app.platform.metrics import Metrics
from app.platform.problems import RateLimited
from app.vending.entries import Issued
from app.vending.orders import Order, Terms
from app.vending.replica_cache import SharedCache
from tests.support.clock import ManualClock
from tests.support.logged import capture_logs
from tests.support.ports import free_port
from tests.support.redis import RedisServer, redis_cluster, redis_server
from tests.support.relay import Address
from tests.support.service import ROLE_ARN, SECRET_KEY

pytestmark = pytest.mark.all

REFUSALS = (
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "MOVED 3999 127.0.0.1:6381",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'eval' command",
    "MISCONF Redis is configured to save RDB snapshots",
    "NOREPLICAS Not enough good replicas to write.",
    "BUSY Redis is busy running a script.",
    "ERR something that nobody has heard of",
)
CROWD = 30
COMMANDS = ("get", "mget", "set", "del", "exists", "decrby", "pttl", "eval", "incr", "expire")
"""What a user of Redis' access list needs, as docs/operate/redis.md says."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not what this is about."""
    monkeypatch.setattr("app.platform.limits.TIMEOUT", 10)
    monkeypatch.setattr("app.vending.replica_cache.TIMEOUT", 10)


class Service:
    """Limits and credentials of one replica, both at one address."""

    def __init__(self, url: str, clock: ManualClock | None = None) -> None:
        self.clock, self.metrics = clock or ManualClock(), Metrics()
        self.limiter: Limiter = make_limiter(url, self.clock, self.metrics, enabled=True)
        self.cache = SharedCache(url, Vault(SECRET_KEY), self.clock, self.metrics)

    async def hit(self, key: str = "somebody") -> bool:
        """Whether it passed."""
        try:
            await self.limiter.hit("log_in", key)
        except RateLimited:
            return False
        return True

    async def vend(self, number: int = 1) -> str:
        """The id of the credential for that order."""
        order = Order(
            uuid.UUID(int=number), uuid.UUID(int=2), "read", "users/1/", 3600, "{}", Terms("assume_role", ROLE_ARN)
        )

        async def issue() -> Issued:
            made, ends_at = uuid.uuid4(), self.clock.now() + timedelta(hours=1)
            return Issued(made, order, StsCredential(f"ASIA{made}", "secret", "token", ends_at, "id"), self.clock.now())

        return str((await self.cache.obtain(order, issue)).credential_id)

    @property
    def alone(self) -> bool:
        return bool(self.metrics.limits_local._value.get())

    async def close(self) -> None:
        await self.limiter.close()
        await self.cache.close()


def follow(*urls: str, story: Callable[..., Awaitable[None]]) -> None:
    """`story` with a replica for each URL, on one clock."""

    async def run() -> None:
        clock = ManualClock()
        services = [Service(url, clock) for url in urls]
        try:
            await story(*services)
        finally:
            for service in services:
                await service.close()

    asyncio.run(run())


class TestFailover:
    """Behind one address, which leads to the new primary while the old one lives on."""

    @pytest.fixture
    def address(self) -> Iterator[Address]:
        with closing(Address(0)) as made:
            yield made

    def test_of_an_old_primary_that_becomes_a_replica(self, address: Address) -> None:
        port = free_port()
        with redis_server() as old, redis_server(port=port) as new:
            address.leads_to = old.path

            async def story(service: Service) -> None:
                await asyncio.gather(*(service.hit(str(number)) for number in range(CROWD)))
                first = await service.vend()
                assert len(old.stored()) == CROWD + 1
                old.client.replicaof("127.0.0.1", port)
                address.leads_to = new.path
                with capture_logs() as logs:
                    await asyncio.gather(*(service.hit(str(number)) for number in range(CROWD)))
                    assert service.alone
                    service.clock.advance(seconds=AVOIDED_FOR)
                    await asyncio.gather(*(service.hit(str(number)) for number in range(CROWD)))
                assert [entry["event"] for entry in logs if "limits" in entry["event"]] == [
                    "shared_limits_away",
                    "shared_limits_back",
                ]
                assert not service.alone
                assert len(new.stored()) >= 1
                await service.vend(2)  # its lock is refused by the old one
                service.clock.advance(seconds=AVOIDED_FOR)
                second = await service.vend(3)
                assert second != first
                assert [key for key in new.stored() if "credential" in key]

            follow(f"redis://127.0.0.1:{address.port}", story=story)

    @pytest.mark.parametrize("says", REFUSALS)
    def test_of_one_that_refuses_and_keeps_its_connections(self, address: Address, says: str) -> None:
        class Refusing(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    if line.startswith(b"*"):
                        words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2) for _ in range(int(line[1:]))]
                        own = words[0].strip().upper() in (b"CLIENT", b"HELLO")
                        self.wfile.write(b"+OK\r\n" if own else f"-{says}\r\n".encode())

        with redis_server() as new, socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            address.leads_to = server.server_address[1]

            async def story(service: Service) -> None:
                assert all(await asyncio.gather(*(service.hit() for _ in range(CROWD))))
                await service.vend()
                assert service.alone
                address.leads_to = new.path
                service.clock.advance(seconds=AVOIDED_FOR)
                assert await service.hit()
                assert not service.alone
                await service.vend()
                assert len(new.stored()) == 2

            follow(f"redis://127.0.0.1:{address.port}", story=story)
            server.shutdown()


class TestCluster:
    @pytest.fixture
    def nodes(self) -> Iterator[list[tuple[int, RedisServer]]]:
        with redis_cluster() as made:
            yield made

    def test_replicas_share_limits_and_credentials(self, nodes: list[tuple[int, RedisServer]]) -> None:
        urls = [f"redis+cluster://127.0.0.1:{port}" for port, _ in nodes[:2]]

        async def story(one: Service, other: Service) -> None:
            keys = [f"client {number}" for number in range(CROWD)]
            for key in keys:
                assert await one.hit(key)
            for _ in range(59):
                assert await other.hit(keys[0])
            assert not await one.hit(keys[0])
            assert (await one.limiter.waits([("log_in", key) for key in keys])).count(0) == CROWD - 1
            await one.limiter.take_back("log_in", keys[0])
            await one.limiter.clear("log_in", keys[0])
            assert await other.hit(keys[0])
            for number in range(CROWD):
                assert await one.vend(number) == await other.vend(number)
            assert [one.alone, other.alone] == [False, False]
            assert all(node.client.dbsize() for _, node in nodes)

        follow(*urls, story=story)

    def test_a_plain_url_of_a_cluster_is_told_of(self, nodes: list[tuple[int, RedisServer]]) -> None:
        async def story(service: Service) -> None:
            with capture_logs() as logs:
                for number in range(CROWD):
                    assert await service.hit(str(number))
                    service.clock.advance(seconds=AVOIDED_FOR)
            away = next(entry for entry in logs if entry["event"] == "shared_limits_away")
            assert away["cause"] == "MovedError"
            assert "redis+cluster://" in away["mend"]

        follow(f"redis://127.0.0.1:{nodes[0][0]}", story=story)

    def test_one_that_is_away_costs_a_time_out(self) -> None:
        with redis_cluster() as nodes:

            async def story(service: Service) -> None:
                assert await service.hit()
                for _, node in nodes:
                    node.kill()
                assert [await service.hit() for _ in range(100)] == [True] * 60 + [False] * 40
                assert service.alone

            follow(f"redis+cluster://127.0.0.1:{nodes[0][0]}", story=story)


class TestProtected:
    def test_by_tls_of_a_private_authority_a_password_and_a_user(self, tmp_path: Path) -> None:
        certificate, key = tmp_path / "redis.crt", tmp_path / "redis.key"
        for file, pem in zip((certificate, key), self_signed("redis"), strict=True):
            file.write_text(pem)
        port = free_port()
        options = (
            *("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
            *("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"),
        )
        with redis_server(*options) as server:
            server.client.acl_setuser(
                "tokenvend",
                enabled=True,
                passwords=["+a/strange%pass"],
                keys=["tokenvend:*"],
                commands=[f"+{command}" for command in COMMANDS],
            )

            async def well(service: Service) -> None:
                assert await service.hit()
                await service.vend()
                await service.limiter.waits([("log_in", "somebody")])
                await service.limiter.take_back("log_in", "somebody")
                for _ in range(61):
                    await service.hit("somebody else")
                assert (await service.limiter.waits([("log_in", "somebody else")]))[0] > 0
                await service.limiter.clear("log_in", "somebody else")
                assert not service.alone
                assert service.metrics.shared_cache_faults._value.get() == 0
                assert len(server.stored()) == 2

            async def refused(service: Service) -> None:
                assert await service.hit()
                assert service.alone

            password = "a%2Fstrange%25pass"
            place = f"127.0.0.1:{port}"
            trusting = f"ssl_ca_certs={certificate}"
            follow(f"rediss://tokenvend:{password}@{place}?{trusting}", story=well)
            follow(f"rediss://tokenvend:wrong@{place}?{trusting}", story=refused)
            follow(f"rediss://tokenvend:{password}@{place}", story=refused)
            follow(f"redis://tokenvend:{password}@{place}", story=refused)
