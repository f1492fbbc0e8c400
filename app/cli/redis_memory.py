"""Asks Redis servers of what kind they are, and what they do when their memory is full, for `tokenvend doctor`.

A server that evicts forgets limits, and whoever was refused is let in again. The databases of one server share memory
and eviction, so limits need a server of their own, or one that evicts nothing.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from app.platform.redis_guard import MOVED
from app.platform.settings import Settings

MEMORY = "memory://"
TIMEOUT = 3.0
"""Seconds for a server to answer."""
NOEVICTION = "noeviction"
LIMITS_MEND = (
    "give TOKENVEND_RATE_LIMIT_URL a server with `maxmemory-policy noeviction`, and TOKENVEND_CACHE_URL another one"
)
CACHE_MEND = "set `maxmemory-policy allkeys-lru` on the server of TOKENVEND_CACHE_URL"


class RedisUnreadable(Exception):
    """A server did not answer, or does not tell. Holds the kind of fault and no address."""


@dataclass(frozen=True)
class Server:
    run_id: str
    """Of the server's process; empty where it does not tell."""
    limited: bool
    """Whether it has a `maxmemory`: without one it grows and evicts nothing."""
    policy: str
    """`maxmemory-policy`; empty where it does not tell: many providers forbid CONFIG, and some leave it out of INFO."""

    unfit: str = ""
    """Why it cannot serve, and the mend; empty if it can."""

    @property
    def evicts(self) -> bool:
        return self.limited and self.policy != NOEVICTION


@dataclass(frozen=True)
class Judgement:
    state: Literal["ok", "warning", "failed"]
    message: str


async def judge(settings: Settings) -> dict[str, Judgement]:
    """By the name of what is kept there, for those that are in Redis: `limits` and `cache`."""
    urls = {"limits": settings.rate_limit_url, "cache": settings.cache_url}
    found: dict[str, Server] = {}
    judged: dict[str, Judgement] = {}
    for name, url in urls.items():
        if url == MEMORY:
            continue
        try:
            server = await ask(url)
            if server.unfit:
                judged[name] = Judgement("failed", server.unfit)
            else:
                found[name] = server
        except RedisUnreadable as fault:
            judged[name] = Judgement("failed", f"the server cannot be asked ({fault})")
    if "limits" in found:
        judged["limits"] = _of_limits(found["limits"], found.get("cache"))
    if "cache" in found:
        judged["cache"] = _of_cache(found["cache"])
    return judged


async def ask(url: str) -> Server:
    """INFO of the server, and CONFIG where INFO lacks the policy. Raises `RedisUnreadable`."""
    from redis.asyncio import Redis  # noqa: PLC0415 - an extra, and 20 MB
    from redis.exceptions import RedisError  # noqa: PLC0415

    from app.platform.redis_client import CLUSTER  # noqa: PLC0415

    cluster = url.startswith(CLUSTER)
    client = Redis.from_url(
        url.replace("+cluster", "", 1) if cluster else url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        decode_responses=True,
    )
    try:
        async with asyncio.timeout(2 * TIMEOUT):
            server: dict[str, Any] = await client.info("server")
            if unfit := _unfit(server, await client.info("replication"), cluster=cluster):
                return Server("", limited=False, policy="", unfit=unfit)
            memory: dict[str, Any] = await client.info("memory")
            policy = memory.get("maxmemory_policy") or ""
            if not policy:
                try:
                    policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy", "")
                except RedisError:
                    policy = ""
            return Server(str(server.get("run_id", "")), bool(memory.get("maxmemory", 1)), str(policy))
    except (RedisError, OSError, ValueError) as fault:
        raise RedisUnreadable(type(fault).__name__) from fault
    finally:
        await client.aclose()


def _unfit(server: dict[str, Any], replication: dict[str, Any], *, cluster: bool) -> str:
    mode = server.get("redis_mode", "")
    if mode == "sentinel":
        return "this is a Sentinel, which is not asked: give the address of the primary, such as a proxy's"
    if mode == "cluster" and not cluster:
        return MOVED
    if mode == "standalone" and cluster:
        return "this server belongs to no cluster: write redis:// or rediss:// in its URL"
    if replication.get("role") == "slave" and not cluster:
        return "this is a replica, which takes no writes: give the address of the primary"
    return ""


def _of_limits(server: Server, cache: Server | None) -> Judgement:
    if not server.policy:
        return Judgement(
            "warning", f"the server does not tell its maxmemory-policy; it should not evict: {LIMITS_MEND}"
        )
    if server.evicts:
        return Judgement("failed", f"a full server forgets limits ({server.policy}); {LIMITS_MEND}")
    if cache is not None and cache.run_id and cache.run_id == server.run_id and server.limited:
        return Judgement(
            "warning",
            f"credentials are on the same server: where they fill it each replica counts alone; {LIMITS_MEND}",
        )
    return Judgement("ok", "the server evicts nothing")


def _of_cache(server: Server) -> Judgement:
    if not server.policy:
        return Judgement("ok", "the server does not tell what it evicts")
    if server.limited and not server.evicts:
        return Judgement("warning", f"a full server takes no new credentials ({server.policy}); {CACHE_MEND}")
    return Judgement("ok", "credentials make room for new ones" if server.limited else "the server has no maxmemory")
