"""Clients of the redis package, which is an extra of 20 MB: imported only where Redis is asked for."""

from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["CLUSTER", "RedisError", "close", "make_client", "renew"]
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
    """Does not connect yet. A command has one try, with `timeout` seconds for each step."""
    once = Retry(NoBackoff(), 0)
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
    return Redis.from_pool(pool)


def renew(client: Redis | RedisCluster) -> None:
    """Makes every connection anew before its next command. A cluster's client does that by itself."""
    if isinstance(client, Redis) and isinstance(client.connection_pool, _Pool):
        client.connection_pool.age += 1


async def close(client: Redis | RedisCluster) -> None:
    await client.aclose()
    if isinstance(client, RedisCluster):  # which leaves connections open if its last command met a fault
        await client.nodes_manager.aclose()
        await client.nodes_manager.aclose("startup_nodes")
