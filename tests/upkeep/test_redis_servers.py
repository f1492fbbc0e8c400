"""What `doctor` says of Redis servers that forget limits when they are full."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.upkeep.checks import redis_servers
from app.upkeep.checks.findings import Finding
from tests.support.engine import eventually
from tests.support.needs import need
from tests.support.ports import free_port
from tests.support.redis import RedisServer, redis_cluster, redis_server
from tests.support.service import test_settings

pytestmark = pytest.mark.all


@pytest.fixture
def limits() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def cache() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def configure(server: RedisServer, policy: str, maxmemory: str = "64mb") -> None:
    server.client.config_set("maxmemory", maxmemory)
    server.client.config_set("maxmemory-policy", policy)


def judged(**urls: Any) -> dict[str, Finding]:
    """By the name of what is kept there."""
    found = asyncio.run(redis_servers.check(test_settings(**urls)))
    return {finding.name.removeprefix("Redis of "): finding for finding in found}


class TestLimits:
    @pytest.mark.parametrize("policy", ["volatile-ttl", "allkeys-lru", "volatile-lru"])
    def test_fail_where_a_full_server_forgets_them(self, limits: RedisServer, policy: str) -> None:
        configure(limits, policy)
        found = judged(rate_limit_url=limits.url)
        assert found.keys() == {"limits"}
        assert found["limits"].state == "failed"
        assert policy in found["limits"].message
        assert "noeviction" in found["limits"].message

    def test_are_well_on_a_server_of_their_own_that_evicts_nothing(
        self, limits: RedisServer, cache: RedisServer
    ) -> None:
        configure(limits, "noeviction")
        configure(cache, "allkeys-lru")
        found = judged(rate_limit_url=limits.url, cache_url=cache.url)
        assert {name: one.state for name, one in found.items()} == {"limits": "ok", "cache": "ok"}

    def test_are_well_where_there_is_no_bound(self, limits: RedisServer) -> None:
        configure(limits, "volatile-ttl", maxmemory="0")
        assert judged(rate_limit_url=limits.url)["limits"].state == "ok"

    def test_that_share_a_server_with_credentials_are_warned_of(self, limits: RedisServer) -> None:
        """Another database of the same server is the same memory."""
        configure(limits, "noeviction")
        found = judged(rate_limit_url=limits.url, cache_url=f"{limits.url}?db=1")
        assert {name: one.state for name, one in found.items()} == {"limits": "warning", "cache": "warning"}
        assert "same server" in found["limits"].message

    def test_are_not_guessed_at_where_the_provider_tells_nothing(
        self, limits: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """CONFIG is forbidden by many providers; INFO tells, but for very old servers."""
        from redis.asyncio import Redis  # noqa: PLC0415
        from redis.exceptions import ResponseError  # noqa: PLC0415

        async def info(_self: Redis, section: str) -> dict[str, Any]:
            return {"run_id": "x"} if section == "server" else {"maxmemory": 1}

        async def forbidden(*_arguments: Any) -> None:
            raise ResponseError("unknown command")

        monkeypatch.setattr(Redis, "info", info)
        monkeypatch.setattr(Redis, "config_get", forbidden)
        found = judged(rate_limit_url=limits.url)["limits"]
        assert found.state == "warning"
        assert "does not tell" in found.message


class TestAway:
    def test_a_server_that_does_not_answer_fails(self, limits: RedisServer) -> None:
        limits.kill()
        assert judged(rate_limit_url=limits.url)["limits"].state == "failed"

    def test_nothing_is_said_where_there_is_none(self) -> None:
        assert judged() == {}


class TestKinds:
    def test_fail_in_a_cluster_that_the_url_does_not_name(self) -> None:
        with redis_server("--cluster-enabled", "yes", port=free_port()) as node:
            found = judged(rate_limit_url=node.url, cache_url=node.url)
            assert {one.state for one in found.values()} == {"failed"}
            assert "write redis+cluster://" in found["limits"].message

    def test_are_well_in_one_that_it_does(self) -> None:
        with redis_cluster() as nodes:
            port = nodes[0][0]
            assert judged(rate_limit_url=f"redis+cluster://127.0.0.1:{port}")["limits"].state == "ok"

    def test_fail_where_there_is_none(self) -> None:
        port = free_port()
        with redis_server(port=port):
            found = judged(rate_limit_url=f"redis+cluster://127.0.0.1:{port}")["limits"]
            assert (found.state, "belongs to no cluster" in found.message) == ("failed", True)

    def test_fail_on_a_replica(self, limits: RedisServer, cache: RedisServer) -> None:
        limits.client.replicaof("127.0.0.1", 1)
        found = judged(rate_limit_url=limits.url, cache_url=cache.url)
        assert (found["limits"].state, "takes no writes" in found["limits"].message) == ("failed", True)
        assert found["cache"].state == "ok"

    def test_fail_on_a_sentinel(self, tmp_path: Path) -> None:
        need("redis")
        port, file = free_port(), tmp_path / "sentinel.conf"
        file.write_text(f"port {port}\nbind 127.0.0.1\n")
        command = ("setpriv", "--pdeathsig=KILL", "redis-server", str(file), "--sentinel")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            found: list[Finding] = []

            def tells() -> bool:
                found.append(judged(rate_limit_url=f"redis://127.0.0.1:{port}")["limits"])
                return "cannot be asked" not in found[-1].message

            assert eventually(tells)
            process.kill()
        assert (found[-1].state, "a Sentinel" in found[-1].message) == ("failed", True)
