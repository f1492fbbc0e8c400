"""Rate limits: how often a client address (IPv6: its /64), an account or a user may do each thing.

Windows are fixed: a window begins with the first hit of its key. Hits are counted in this process's memory, or in a
Redis that all replicas share. While Redis does not answer, each replica counts by itself, so limits always apply.
"""

import contextlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Literal

from limits import RateLimitItem, parse

from app.crypto import kinds
from app.crypto.vault import Vault
from app.platform.clock import Clock
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.problems import RateLimited
from app.platform.redis_guard import RedisAvoided, RedisGuard, told
from app.platform.settings import STS_QUOTA

LimitName = Literal[
    "register",
    "guest",
    "log_in",
    "mfa",
    "passkey",
    "oidc",
    "refresh",
    "mail",
    "confirm",
    "storage_event",
    "letter",
    "reset",
    "guess",
    "code_guess",
    "own_guess",
    "session_guess",
    "change",
    "export",
    "staff_export",
    "own_password",
    "change_password",
    "issue_credentials",
    "container_credentials",
    "new_credential",
    "new_credential_from",
    "new_credential_of_newcomers_from",
    "new_credential_for_newcomers",
    "revoke_credentials",
    "explain_access",
    "create_downloads",
    "share",
    "invitation",
    "open_link",
    "link_guess",
    "address_link_guess",
    "report_link",
]

Key = str | tuple[str, ...]
"""What hits are counted by. With several keys a hit counts for each, and the limit of any refuses it."""
Counter = tuple[LimitName, Key]
"""A limit, and the key whose hits are counted."""
Holder = Literal[
    "address",
    "user",
    "session",
    "link",
    "link and address",
    "user or link",
    "mail address",
    "user and mail address",
    "account",
    "all newcomers",
]
"""Whose allowance a hit uses. An IPv6 network of 64 bits is one client address. An account is one that somebody tries
to sign in to, even if it does not exist. All newcomers (guests and accounts under a day old) share one allowance."""


@dataclass(frozen=True, slots=True)
class Limit:
    amount: str
    """Hits and window in the notation of the package `limits`: "60/minute"."""
    per: Holder
    counts: str
    """What is counted, for docs/reference/limits.md."""
    renewed: bool = False
    """Whether each accepted hit restarts the window. A refused hit never does, or a stranger could keep an account
    locked for ever."""


LIMITS: dict[LimitName, Limit] = {
    "register": Limit("30/minute", per="address", counts="registrations, and upgrades of guests"),
    "guest": Limit("30/minute", per="address", counts="new guests"),
    "log_in": Limit("60/minute", per="address", counts="sign-ins with a password"),
    "mfa": Limit("60/minute", per="address", counts="codes of a second factor, step-ups, and erasures of an account"),
    "passkey": Limit("120/minute", per="address", counts="calls with passkeys"),
    "oidc": Limit("120/minute", per="address", counts="calls with outside identities"),
    "refresh": Limit("600/minute", per="address", counts="refreshes of a session"),
    "mail": Limit("30/minute", per="address", counts="requests for a mail"),
    "confirm": Limit("60/minute", per="address", counts="confirmations of a mailed link, and password changes"),
    "storage_event": Limit("30/minute", per="address", counts="messages of SNS that name an unreachable certificate"),
    "letter": Limit("10/hour", per="mail address", counts="requests for a mail, but for password resets"),
    "reset": Limit("10/hour", per="mail address", counts="password resets"),
    "guess": Limit("60/day", per="account", counts="wrong passwords in a row, at sign-in", renewed=True),
    "code_guess": Limit("20/day", per="user", counts="wrong codes in a row, at sign-in", renewed=True),
    "own_guess": Limit(
        "20/day", per="user", counts="wrong passwords and codes in a row, by all signed-in sessions", renewed=True
    ),
    "session_guess": Limit(
        "10/day", per="session", counts="wrong passwords and codes in a row, by a signed-in session", renewed=True
    ),
    "change": Limit("120/minute", per="user", counts="calls that may change something, but for credentials"),
    "export": Limit("5/hour", per="user", counts="exports of what is stored about the caller"),
    "staff_export": Limit("60/hour", per="user", counts="exports of users and of the audit"),
    "own_password": Limit("20/minute", per="user", counts="passwords given again by a signed-in user, right or wrong"),
    "change_password": Limit("20/hour", per="user", counts="new passwords of a signed-in user, taken or not"),
    "issue_credentials": Limit(
        "60/minute", per="user", counts="credentials, but for cached ones by the container endpoint"
    ),
    "container_credentials": Limit("600/minute", per="session", counts="credentials by the container endpoint"),
    "new_credential": Limit("30/minute", per="user or link", counts="credentials that were not cached"),
    "new_credential_from": Limit("600/minute", per="address", counts="credentials that were not cached"),
    "new_credential_of_newcomers_from": Limit(
        "20/10 seconds",
        per="address",
        counts="credentials of newcomers that were not cached: a thirtieth of `TOKENVEND_STS_QUOTA`, or 5",
    ),
    "new_credential_for_newcomers": Limit(
        "300/second", per="all newcomers", counts="credentials that were not cached: half of `TOKENVEND_STS_QUOTA`"
    ),
    "revoke_credentials": Limit("10/minute", per="user", counts="revocations of credentials"),
    "explain_access": Limit("60/minute", per="user", counts="questions why access was denied"),
    "create_downloads": Limit("60/minute", per="user", counts="calls for signed URLs of the CDN"),
    "share": Limit("60/hour", per="user", counts="folders shared, and links made"),
    "invitation": Limit("10/hour", per="user and mail address", counts="folders shared with that address"),
    "open_link": Limit("120/minute", per="address", counts="links opened, right or wrong"),
    "link_guess": Limit("600/day", per="link", counts="wrong passwords of a link"),
    "address_link_guess": Limit("20/day", per="link and address", counts="wrong passwords of a link"),
    "report_link": Limit("10/hour", per="address", counts="reports of what a link shows"),
}
"""A mobile carrier puts thousands of phones behind one client address, so limits by address are wide. Password resets
have their own limit: an owner whom strangers locked out needs a reset, however many other mails were sent.

One account allows at most a hundred wrong guesses in a row (NIST SP 800-63B-4 §3.2.2): 60 passwords at sign-in, 20
codes after a right password, and 20 guesses by signed-in sessions, at most 10 by each session. The counters are
separate, so an attacker who uses up one does not use up the others. Strangers have no password and no session, so they
cannot keep a signed-in owner from a step-up, a new password or erasure. A stolen session leaves tries for the owner's
other sessions. Windows are renewed, so a few guesses each day also count as guesses in a row."""

MOST_KEYS = 100_000
"""Keys of each limit in memory: 30 MB if every request comes from another network."""
LOOKED_AT = 16
"""Windows that are looked at to make room for a new one. So no request pays for the crowd before it."""
TIMEOUT = 0.2
"""Seconds to wait for an answer of Redis."""
AVOIDED_FOR = 5.0
"""Seconds without calls to Redis after a fault. Then one request tries it again."""
KEY_PREFIX = "tokenvend:limit"

_HIT = """
local hits, left = redis.call("incr", KEYS[1]), redis.call("pttl", KEYS[1])
if left < 0 or hits <= tonumber(ARGV[2]) then
    redis.call("expire", KEYS[1], ARGV[1])
    left = ARGV[1] * 1000
end
return {hits, left}
"""
"""Counts a hit. The window (ARGV[1], in seconds) begins with the first one, and anew with each up to ARGV[2]."""


@dataclass(slots=True)
class _Window:
    ends_at: float
    hits: int = 0


class LocalWindows:
    """Windows in memory, at most `most` for each limit.

    The package `limits` has such a storage too. But that walks through all keys in a new thread a hundred times a
    second, and it has no bound. Here all windows of one limit have the same length, so they end in the order in which
    they are stored.
    """

    def __init__(self, clock: Clock, metrics: Metrics, *, most: int = MOST_KEYS) -> None:
        self._clock = clock
        self._metrics = metrics
        self._most = most
        self._windows: dict[LimitName, OrderedDict[str, _Window]] = {name: OrderedDict() for name in LIMITS}

    def hit(self, name: LimitName, key: str, item: RateLimitItem) -> float | None:
        """Counts a hit and returns None, or returns for how many seconds the key is refused."""
        windows, now = self._windows[name], self._clock.monotonic()
        window = windows.get(key)
        if window is None or window.ends_at <= now:
            windows.pop(key, None)
            self._make_room(name, windows, now)
            window = windows[key] = _Window(now + item.get_expiry())
        elif window.hits >= item.amount:
            return window.ends_at - now
        elif LIMITS[name].renewed:
            window.ends_at = now + item.get_expiry()
            windows.move_to_end(key)
        window.hits += 1
        return None

    def wait(self, name: LimitName, key: str, item: RateLimitItem) -> float:
        """For how many seconds a hit would be refused; 0 if it would pass. Counts nothing."""
        window = self._windows[name].get(key)
        if window is None or window.hits < item.amount:
            return 0
        return max(0, window.ends_at - self._clock.monotonic())

    def clear(self, name: LimitName, key: str) -> None:
        self._windows[name].pop(key, None)

    def take_back(self, name: LimitName, key: str) -> None:
        window = self._windows[name].get(key)
        if window is not None and window.hits:
            window.hits -= 1

    def __len__(self) -> int:
        return sum(len(windows) for windows in self._windows.values())

    def _make_room(self, name: LimitName, windows: OrderedDict[str, _Window], now: float) -> None:
        """Forgets windows that have ended. If none has, forgets the window with the fewest hits among the oldest few.

        So a flood of keys makes the limiter forget the flood's own windows, not the account that somebody attacks.
        """
        oldest = list(islice(windows.items(), LOOKED_AT))
        for key, window in oldest:
            if window.ends_at <= now:
                del windows[key]
        if len(windows) >= self._most:
            del windows[min(oldest, key=lambda kept: kept[1].hits)[0]]
            self._metrics.limits_forgotten.labels(name).inc()


def _stored(name: LimitName, key: str, item: RateLimitItem) -> str:
    """The key in Redis."""
    return f"{KEY_PREFIX}:{item.key_for(name, key)}"


class SharedWindows:
    """The same windows in Redis. A hit takes one round trip. Windows end in real time, whatever the clock here says.

    Accounts and mail addresses are stored as keyed digests. Client addresses are stored in clear for a minute, and ids
    of users and sessions for at most a day. Audit rows have these anyway.
    """

    def __init__(self, url: str, clock: Clock, metrics: Metrics) -> None:
        """Does not connect yet. Raises `SettingsError` if the redis package is not installed."""
        self._guard = RedisGuard(
            "TOKENVEND_RATE_LIMIT_URL",
            url,
            clock,
            timeout=TIMEOUT,
            pause=AVOIDED_FOR,
            on_fault=self._go_alone,
            on_return=self._go_back,
        )
        self._redis = self._guard.client
        # In a cluster, keys are on several servers.
        self._mget = getattr(self._redis, "mget_nonatomic", self._redis.mget)
        self._metrics = metrics

    async def hit(self, name: LimitName, key: str, item: RateLimitItem) -> float | None:
        """Counts a hit and returns None, or returns for how many seconds the key is refused. Raises `RedisAvoided`."""
        last_renewal = item.amount if LIMITS[name].renewed else 0
        hits, left = await self._guard.ask(
            self._redis.eval, _HIT, 1, _stored(name, key, item), item.get_expiry(), last_renewal
        )
        return left / 1000 if hits > item.amount else None

    async def waits(self, counters: Sequence[tuple[RateLimitItem, str]]) -> list[float]:
        """For how many seconds a hit of each counter (item and key in Redis) would be refused.

        Raises `RedisAvoided`.
        """
        hits = await self._guard.ask(self._mget, [stored for _, stored in counters])
        return [
            max(0, await self._guard.ask(self._redis.pttl, stored)) / 1000 if int(count or 0) >= item.amount else 0
            for (item, stored), count in zip(counters, hits, strict=True)
        ]

    async def clear(self, name: LimitName, key: str, item: RateLimitItem) -> None:
        """Raises `RedisAvoided`."""
        await self._guard.ask(self._redis.delete, _stored(name, key, item))

    async def take_back(self, name: LimitName, key: str, item: RateLimitItem) -> None:
        """Raises `RedisAvoided`."""
        stored = _stored(name, key, item)
        if await self._guard.ask(self._redis.exists, stored):  # `decr` would make a counter that never expires
            await self._guard.ask(self._redis.decr, stored)

    async def close(self) -> None:
        await self._guard.close()

    def _go_alone(self, fault: Exception) -> None:
        if not self._guard.away:
            self._metrics.limits_local.set(1)
            log.error("shared_limits_away", **told(fault))

    def _go_back(self) -> None:
        self._metrics.limits_local.set(0)
        log.info("shared_limits_back")


class Limiter:
    """Counts hits and refuses those beyond a limit, in Redis if there is one, else in memory."""

    def __init__(
        self,
        local: LocalWindows,
        shared: SharedWindows | None,
        metrics: Metrics,
        *,
        enabled: bool,
        amounts: Mapping[LimitName, str] | None = None,
    ) -> None:
        """`amounts` replaces amounts of `LIMITS`."""
        self._local = local
        self._metrics = metrics
        self._shared = shared
        self._enabled = enabled
        usual = {name: limit.amount for name, limit in LIMITS.items()}
        self._items: dict[LimitName, RateLimitItem] = {
            name: parse(amount) for name, amount in {**usual, **(amounts or {})}.items()
        }

    async def hit(self, name: LimitName, key: Key) -> None:
        """Counts a hit. Raises `RateLimited` with the seconds until the window ends."""
        if not self._enabled:
            return
        counted: list[str] = []
        for one in _each(key):
            wait = await self._hit(name, one, self._items[name])
            if wait is not None:
                if counted:
                    await self.take_back(name, tuple(counted))
                self._metrics.limits_refused.labels(name).inc()
                raise RateLimited(retry_after=max(1, math.ceil(wait)))
            counted.append(one)

    @property
    def asks_redis(self) -> bool:
        return self._enabled and self._shared is not None

    def try_hit(self, name: LimitName, key: str) -> bool:
        """Counts a hit in memory. False where `hit` would refuse it. Not for a limiter that `asks_redis`."""
        return not self._enabled or self._local.hit(name, key, self._items[name]) is None

    async def try_shared_hit(self, name: LimitName, key: str) -> bool:
        """The same where it `asks_redis`."""
        return await self._hit(name, key, self._items[name]) is None

    async def _hit(self, name: LimitName, key: str, item: RateLimitItem) -> float | None:
        if self._shared is not None:
            with contextlib.suppress(RedisAvoided):
                return await self._shared.hit(name, key, item)
        return self._local.hit(name, key, item)

    async def waits(self, counters: Sequence[Counter]) -> list[float]:
        """For how many seconds a hit of each counter would be refused; 0 if it would pass. Counts nothing.

        Takes one round trip for all counters, and one more for each that would be refused.
        """
        if not self._enabled or not counters:
            return [0] * len(counters)
        waits = iter(await self._waits([(name, one) for name, key in counters for one in _each(key)]))
        return [max(next(waits) for _ in _each(key)) for _, key in counters]

    async def _waits(self, counters: Sequence[tuple[LimitName, str]]) -> list[float]:
        if self._shared is not None:
            with contextlib.suppress(RedisAvoided):
                return await self._shared.waits(
                    [(self._items[n], _stored(n, key, self._items[n])) for n, key in counters]
                )
        return [self._local.wait(name, key, self._items[name]) for name, key in counters]

    async def clear(self, name: LimitName, key: Key) -> None:
        """Forgets all hits of the key."""
        for one in _each(key):
            self._local.clear(name, one)
            if self._shared is not None and self._enabled:
                with contextlib.suppress(RedisAvoided):
                    await self._shared.clear(name, one, self._items[name])

    async def take_back(self, name: LimitName, key: Key) -> None:
        """Forgets the last hit of the key, because what it was counted for did not happen."""
        if not self._enabled:
            return
        for one in _each(key):
            self._local.take_back(name, one)
            if self._shared is not None:
                with contextlib.suppress(RedisAvoided):
                    await self._shared.take_back(name, one, self._items[name])

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()


def make_limiter(url: str, clock: Clock, metrics: Metrics, *, enabled: bool, sts_quota: int = STS_QUOTA) -> Limiter:
    """The limiter for the settings `RATE_LIMIT_URL` and `STS_QUOTA`. It does not connect yet.

    Raises `SettingsError` if Redis is asked for and the redis package is not installed.
    """
    shared = None if url == "memory://" else SharedWindows(url, clock, metrics)
    amounts: dict[LimitName, str] = {
        "new_credential_for_newcomers": f"{max(1, sts_quota // 2)}/second",
        # A hundred addresses get two thirds of the newcomers' share. The window is short, so a rush is soon over.
        # A household with a few new phones needs five.
        "new_credential_of_newcomers_from": f"{max(5, sts_quota // 30)}/10 seconds",
    }
    return Limiter(LocalWindows(clock, metrics), shared, metrics, enabled=enabled, amounts=amounts)


def account_key(vault: Vault, account: str) -> Key:
    """The key that counts guesses at an account. `account` is its address key, or its id if it has no address.

    While the secret key is being changed, guesses are counted by each key. So the change gives nobody more of them.
    """
    digests = vault.digests(kinds.GUESSED_ACCOUNT, account.encode("utf-8", "surrogatepass"))
    return tuple(digest.hex() for digest in digests)


def _each(key: Key) -> Sequence[str]:
    return (key,) if isinstance(key, str) else key


def address_key(address: str) -> str:
    """The key that counts hits of a client address. An IPv6 network of 64 bits is one household or phone."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
