"""How often each thing may be done: by client address (IPv6 by its /64) and by user. One table, one check."""

import math
from ipaddress import IPv6Address, ip_address
from typing import Literal

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

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


class Limiter:
    """Counts in this process's memory. Raises `RateLimited` with the seconds until the window ends."""

    def __init__(self, clock: Clock, *, enabled: bool) -> None:
        self._clock = clock
        self._enabled = enabled
        self._items: dict[LimitName, RateLimitItem] = {name: parse(limit) for name, limit in LIMITS.items()}
        self._windows = FixedWindowRateLimiter(MemoryStorage())

    async def hit(self, name: LimitName, key: str) -> None:
        if not self._enabled:
            return
        item = self._items[name]
        if not self._windows.hit(item, name, key):
            ends_at = self._windows.get_window_stats(item, name, key).reset_time
            wait = math.ceil(ends_at - self._clock.now().timestamp())
            raise RateLimited(retry_after=min(max(1, wait), item.get_expiry()))

    async def clear(self, name: LimitName, key: str) -> None:
        """Forgets what was counted."""
        self._windows.clear(self._items[name], name, key)


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
