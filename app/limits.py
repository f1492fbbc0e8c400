"""How often each thing may be done: by client address (IPv6 by its /64) and by user. One table, one check."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal

from limits import RateLimitItem, parse

from app.clock import Clock
from app.crypto import Vault
from app.problems import RateLimited

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
    "letter",
    "guess",
    "issue_credentials",
]

LIMITS: dict[LimitName, str] = {
    "register": "30/minute",
    "guest": "30/minute",
    "log_in": "60/minute",
    "mfa": "60/minute",
    "passkey": "120/minute",
    "oidc": "120/minute",
    "refresh": "600/minute",
    "mail": "30/minute",
    "confirm": "60/minute",
    "letter": "10/hour",
    "guess": "100/day",
    "issue_credentials": "60/minute",
}
"""By client address, where a mobile carrier puts thousands of phones behind one, up to `confirm`. `letter` counts mails
to one address; `guess` wrong passwords and codes for one account, wherever they are tried, until one was right
(NIST SP 800-63B-4 §3.2.2); the last credentials of one user."""


@dataclass(slots=True)
class _Window:
    ends_at: float
    hits: int = 0


class Limiter:
    """Counts in this process's memory, in fixed windows that begin with a key's first hit.

    `limits` has such a storage, but it walks all keys in a new thread a hundred times a second. Here the windows of one
    limit are as long as each other, so they end in the order in which they are kept, and only the ended ones are seen.
    """

    def __init__(self, clock: Clock, *, enabled: bool) -> None:
        self._clock = clock
        self._enabled = enabled
        self._items: dict[LimitName, RateLimitItem] = {name: parse(limit) for name, limit in LIMITS.items()}
        self._windows: dict[LimitName, OrderedDict[str, _Window]] = {name: OrderedDict() for name in LIMITS}

    async def hit(self, name: LimitName, key: str) -> None:
        """Raises `RateLimited` with the seconds until the window ends."""
        if not self._enabled:
            return
        item, windows, now = self._items[name], self._windows[name], self._clock.monotonic()
        window = windows.get(key)
        if window is None or window.ends_at <= now:
            _forget_ended(windows, now)
            window = windows[key] = _Window(now + item.get_expiry())
        window.hits += 1
        if window.hits > item.amount:
            raise RateLimited(retry_after=max(1, math.ceil(window.ends_at - now)))

    async def clear(self, name: LimitName, key: str) -> None:
        """Forgets what was counted."""
        self._windows[name].pop(key, None)


def _forget_ended(windows: OrderedDict[str, _Window], now: float) -> None:
    while windows:
        oldest = next(iter(windows))
        if windows[oldest].ends_at > now:
            return
        del windows[oldest]


def account_key(vault: Vault, account: str) -> str:
    """An account as its guesses are counted: by address key, known or not, or by id where it has no address."""
    return vault.digest("guessed account", account.encode("utf-8", "surrogatepass")).hex()


def address_key(address: str) -> str:
    """The address as it is counted: an IPv6 network of 64 bits is one household or one phone."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
