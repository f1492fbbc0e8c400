"""Clients of the redis package, which is an extra of 20 MB: imported only where Redis is asked for."""

from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["CLUSTER", "RedisError", "close", "make_client", "renew"]
OWN_OPTIONS = frozenset({"socket_timeout", "socket_connect_timeout", "decode_responses"})
CLUSTER = ("redis+cluster://", "rediss+cluster://")


class _Pool(ConnectionPool):
    """The package closes a connection that breaks, but not one whose server refuses everything: a former primary."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.age = 0
        self._ages = WeakKeyDictionary[AbstractConnection, int]()

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Closes a connection from before the last fault. Only now, when nobody else can have it."""
        if self._ages.get(connection) != self.age:
            await connection.disconnect()
            self._ages[connection] = self.age
        await super().ensure_connection(connection)


def make_client(url: str, *, timeout: float) -> Redis | RedisCluster:
    """Does not connect yet. A command has one try, with `timeout` seconds for each step, whatever the URL says.

    Raises TypeError or ValueError if the URL has options that the package does not know, or cannot be read.
    """
    once = Retry(NoBackoff(), 0)
    url = _without_own_options(url)
    if url.startswith(CLUSTER):
        # The nodes of the URL stay known: a name lasts longer than the addresses that nodes tell of each other.
        return RedisCluster.from_url(
            url.replace("+cluster", "", 1),
            dynamic_startup_nodes=False,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=once,
        )
    pool = _Pool.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once)
    pool.make_connection()  # type: ignore[no-untyped-call]  # not connected; it knows which options there are
    return Redis.from_pool(pool)


def _without_own_options(url: str) -> str:
    """The URL without what this service decides: the package would let the URL win."""
    parts = urlsplit(url)
    kept = [option for option in parts.query.split("&") if option.partition("=")[0] not in OWN_OPTIONS]
    return parts._replace(query="&".join(kept)).geturl() if parts.query else url


def renew(client: Redis | RedisCluster) -> None:
    """Makes every connection anew before its next command. A cluster's client does that by itself."""
    if isinstance(client, Redis) and isinstance(client.connection_pool, _Pool):
        client.connection_pool.age += 1


async def close(client: Redis | RedisCluster) -> None:
    await client.aclose()
    if isinstance(client, RedisCluster):  # which leaves connections open if its last command met a fault
        await client.nodes_manager.aclose()
        await client.nodes_manager.aclose("startup_nodes")
