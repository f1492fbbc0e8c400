"""Redis: of what kind the servers are, whether they run scripts, and what they do when their memory is full.

A server that evicts forgets limits, and whoever was refused is let in again. The databases of one server share memory
and eviction, so limits need a server of their own, or one that evicts nothing.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from app.platform.limits import KEY_PREFIX
from app.platform.network_faults import NetworkFault, network_fault
from app.platform.redis_guard import MOVED
from app.platform.settings import Settings
from app.upkeep.checks.findings import Finding

MEMORY = "memory://"
TIMEOUT = 3.0
"""Seconds for a server to answer."""
NOEVICTION = "noeviction"
LIMITS_MEND = (
    "give TOKENVEND_RATE_LIMIT_URL a server with `maxmemory-policy noeviction`, and TOKENVEND_CACHE_URL another one"
)
CACHE_MEND = "set `maxmemory-policy allkeys-lru` on the server of TOKENVEND_CACHE_URL"


SETTINGS = {"limits": "TOKENVEND_RATE_LIMIT_URL", "cache": "TOKENVEND_CACHE_URL"}
SCRIPT = "redis.call('incr', KEYS[1]); return redis.call('expire', KEYS[1], 1)"
"""What limits need of a server: a script that counts, as the service's own do."""


class RedisUnreadable(Exception):
    """A server did not answer, or refused. Says what is wrong, and the repair, without address and password."""

    def __init__(self, text: str, repair: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.repair = repair


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


async def check(settings: Settings, *, within: float = TIMEOUT) -> list[Finding]:
    """A finding for each of limits and cache that is kept in Redis. `within`: seconds for each answer of a server."""
    urls = {"limits": settings.rate_limit_url, "cache": settings.cache_url}
    urls = {name: url for name, url in urls.items() if url != MEMORY}
    answers = await asyncio.gather(
        *(ask(url, within=within, scripts=name == "limits") for name, url in urls.items()), return_exceptions=True
    )
    found: dict[str, Server] = {}
    judged: dict[str, Finding] = {}
    for name, answer in zip(urls, answers, strict=True):
        if isinstance(answer, RedisUnreadable):
            repair = answer.repair or f"check {SETTINGS[name]}"
            judged[name] = Finding(_name(name), "failed", answer.text, repair.replace("{setting}", SETTINGS[name]))
        elif isinstance(answer, BaseException):
            raise answer
        elif answer.unfit:
            judged[name] = Finding(_name(name), "failed", answer.unfit)
        else:
            found[name] = answer
    if "limits" in found:
        judged["limits"] = _of_limits(found["limits"], found.get("cache"))
    if "cache" in found:
        judged["cache"] = _of_cache(found["cache"])
    return [judged[name] for name in urls]


def _name(of: str) -> str:
    return f"Redis of {of}"


async def ask(url: str, *, within: float = TIMEOUT, scripts: bool = True) -> Server:
    """INFO of the server, and CONFIG where INFO lacks the policy. `scripts`: runs one too.

    Raises `RedisUnreadable`.
    """
    from redis.asyncio import Redis  # noqa: PLC0415 - an extra, and 20 MB
    from redis.exceptions import RedisError  # noqa: PLC0415

    from app.platform.redis_client import CLUSTER  # noqa: PLC0415

    cluster = url.startswith(CLUSTER)
    client = Redis.from_url(
        url.replace("+cluster", "", 1) if cluster else url,
        socket_timeout=within,
        socket_connect_timeout=within,
        decode_responses=True,
    )
    try:
        async with asyncio.timeout(2 * within):
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
        if scripts:
            await _run_a_script(url, within)
        return Server(str(server.get("run_id", "")), bool(memory.get("maxmemory", 1)), str(policy))
    except (RedisError, OSError, ValueError) as fault:
        raise _unreadable(fault) from fault
    finally:
        await client.aclose()


async def _run_a_script(url: str, within: float) -> None:
    """By the service's own client, which finds the node of a cluster. Raises what that raises."""
    from app.platform.redis_client import close, make_client  # noqa: PLC0415

    client: Any = make_client(url, timeout=within)
    try:
        async with asyncio.timeout(2 * within):
            await client.eval(SCRIPT, 1, f"{KEY_PREFIX}:doctor")
    finally:
        await close(client)


def _unreadable(fault: Exception) -> RedisUnreadable:
    kind, said = type(fault).__name__, str(fault)
    if kind.startswith(("Authentication", "Authorization")):
        asks = "required" in said or said.startswith("HELLO")  # the latter in RESP3
        words = "the server asks for a password" if asks else "the server refused user and password"
        repair = "check user and password in {setting}; write `@`, `/`, `:`, `#` and `%` in them by percent codes"
        return RedisUnreadable(f"{words} ({kind})", repair)
    if kind == "NoPermissionError":
        repair = "give the user of {setting} the commands and keys that docs/operate/redis.md lists"
        return RedisUnreadable("the server's access list denies a command that the service needs", repair)
    found: NetworkFault | None = network_fault(fault)
    if found is not None:
        return RedisUnreadable(f"the server cannot be asked: {found.text} ({kind})", f"{found.repair}; {{setting}}")
    return RedisUnreadable(f"the server cannot be asked ({kind})", "check {setting}, and the server's log")


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


def _of_limits(server: Server, cache: Server | None) -> Finding:
    name = _name("limits")
    if not server.policy:
        return Finding(
            name, "warning", "the server does not tell its maxmemory-policy; it should not evict", LIMITS_MEND
        )
    if server.evicts:
        return Finding(name, "failed", f"a full server forgets limits ({server.policy})", LIMITS_MEND)
    if cache is not None and cache.run_id and cache.run_id == server.run_id and server.limited:
        shared = "credentials are on the same server: where they fill it each replica counts alone"
        return Finding(name, "warning", shared, LIMITS_MEND)
    return Finding(name, "ok", "the server runs scripts and evicts nothing")


def _of_cache(server: Server) -> Finding:
    name = _name("cache")
    if not server.policy:
        return Finding(name, "ok", "the server does not tell what it evicts")
    if server.limited and not server.evicts:
        return Finding(name, "warning", f"a full server takes no new credentials ({server.policy})", CACHE_MEND)
    bound = "credentials make room for new ones" if server.limited else "the server has no maxmemory"
    return Finding(name, "ok", bound)
