"""Credentials that replicas share through Redis, encrypted. All replicas together issue one credential for an order.

Nothing depends on Redis: if it does not answer, a replica goes on alone.
"""

import asyncio
import contextlib
import dataclasses
import json
import random
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.aws.sts_client import StsCredential
from app.crypto import kinds
from app.crypto.encoding import b64url
from app.crypto.vault import DecryptionFailed, Vault
from app.platform.clock import Clock
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.redis_guard import RedisAvoided, RedisGuard, told
from app.vending.cache import NONE_TO_BE_HAD, Issue, Note
from app.vending.entries import LEAST_LEFT, Issued
from app.vending.orders import Order

TIMEOUT = 0.5
"""Seconds for Redis to answer."""
AVOIDED_FOR = 2.0
"""Seconds for which Redis is avoided after a fault, so that not every request waits for its time-out."""
LOCK_TTL = 8.0
"""Seconds: longer than STS's deadline and the ledger's commit take, and short enough not to wait long for a replica
that died."""
LONGEST_WAIT = 5.0
"""Seconds to wait for a credential that another replica is getting: about as long as it can take. Then each replica
goes on alone."""
WAIT = (0.01, 0.04)
"""Seconds (range) between two looks for a credential that another replica is getting."""

_RELEASE = """if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0"""


def _forget(_older: Issued) -> None:
    """The `Note` of somebody who waits as long as it takes."""


class SharedCache:
    def __init__(self, url: str, vault: Vault, clock: Clock, metrics: Metrics) -> None:
        """Raises `SettingsError` if the redis package is not installed."""
        self._guard = RedisGuard(
            "TOKENVEND_CACHE_URL", url, clock, timeout=TIMEOUT, pause=AVOIDED_FOR, on_fault=self._note
        )
        self._redis = self._guard.client
        self._vault = vault
        self._clock = clock
        self._metrics = metrics

    async def obtain(self, order: Order, issue: Issue, note: Note = _forget) -> Issued:
        """The credential that a replica has for the order, or one from `issue`. Raises what `issue` raises.

        If no new one can be issued, returns the older one while at least ten minutes of it are left. `note` is told of
        an older one before this waits for a new one.
        """
        key, *before = self._keys(order)
        lock, holder = f"{key}:lock", secrets.token_hex(16)
        known = await self._find_or_lock(order, (key, *before), lock, holder, note)
        if known is not None and known.fresh(self._clock.now()):
            return known
        try:
            issued = await issue()
        except NONE_TO_BE_HAD:
            await self._release(lock, holder)
            if known is None or not known.lasts(self._clock.now()):
                raise
            return known
        except BaseException:
            await self._release(lock, holder)
            raise
        await self._keep(key, issued)
        await self._release(lock, holder)
        return issued

    async def _find_or_lock(
        self, order: Order, keys: Sequence[str], lock: str, holder: str, note: Note
    ) -> Issued | None:
        """A fresh credential. Or an older one or None, once we hold the lock, avoid Redis, or have waited too long."""
        known, locked = None, False
        with contextlib.suppress(RedisAvoided, TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT):
                while True:
                    known = await self._find(order, keys)
                    if known is not None and known.fresh(self._clock.now()):
                        if locked:
                            await self._release(lock, holder)
                        break
                    if known is not None:
                        note(known)
                    if locked:
                        break
                    # With the lock, look once more: the last holder may have finished between our look and our lock.
                    locked = bool(
                        await self._guard.ask(self._redis.set, lock, holder, nx=True, px=int(LOCK_TTL * 1000))
                    )
                    if not locked:
                        await asyncio.sleep(random.uniform(*WAIT))  # noqa: S311 - it spreads, it hides nothing
        return known

    async def _find(self, order: Order, keys: Sequence[str]) -> Issued | None:
        """The first that is fresh, else one that is not. Raises `RedisAvoided`."""
        known = None
        for key in keys:
            found = self._open(key, order, await self._guard.ask(self._redis.get, key))
            if found is not None and found.fresh(self._clock.now()):
                return found
            known = known or found
        return known

    async def close(self) -> None:
        await self._guard.close()

    def _keys(self, order: Order) -> list[str]:
        """Keyed digests of all that shapes the credential, first by the secret key that is written with.

        So a key in Redis does not tell who uses the service.
        """
        shape = repr(order).encode()
        mine = self._vault.digest(kinds.CREDENTIAL_ORDER, shape)
        digests = dict.fromkeys((mine, *self._vault.digests(kinds.CREDENTIAL_ORDER, shape)))
        return ["tokenvend:credential:" + b64url(digest) for digest in digests]

    async def _keep(self, key: str, issued: Issued) -> None:
        left = issued.credential.expires_at - self._clock.now() - LEAST_LEFT
        if left.total_seconds() >= 1:
            with contextlib.suppress(RedisAvoided):
                await self._guard.ask(self._redis.set, key, self._seal(key, issued), ex=int(left.total_seconds()))

    async def _release(self, lock: str, holder: str) -> None:
        """Releases the lock only if it is still ours: after `LOCK_TTL` another replica may hold it."""
        with contextlib.suppress(RedisAvoided):
            await self._guard.ask(self._redis.eval, _RELEASE, 1, lock, holder)

    def _note(self, fault: Exception) -> None:
        self._metrics.shared_cache_faults.inc()
        log.warning("shared_cache_avoided", **told(fault), seconds=AVOIDED_FOR)

    def _seal(self, key: str, issued: Issued) -> bytes:
        members: dict[str, Any] = {
            "credential_id": str(issued.credential_id),
            "issued_at": issued.issued_at.isoformat(),
            "credential": {
                **dataclasses.asdict(issued.credential),
                "expires_at": issued.credential.expires_at.isoformat(),
            },
        }
        return self._vault.encrypt(kinds.VENDED_CREDENTIAL, json.dumps(members).encode(), bound_to=key)

    def _open(self, key: str, order: Order, sealed: Any) -> Issued | None:
        if sealed is None:
            return None
        try:
            members = json.loads(self._vault.decrypt(kinds.VENDED_CREDENTIAL, sealed, bound_to=key))
            credential = members["credential"]
            return Issued(
                UUID(members["credential_id"]),
                order,
                StsCredential(**credential | {"expires_at": datetime.fromisoformat(credential["expires_at"])}),
                datetime.fromisoformat(members["issued_at"]),
            )
        except (DecryptionFailed, KeyError, TypeError, ValueError):  # not ours, or from another version of this program
            return None
