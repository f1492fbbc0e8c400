"""Vending: from a signed-in user's wish to a credential for their own prefix."""

import uuid
from typing import TYPE_CHECKING

from app.actor import Actor
from app.audit import Origin
from app.credentials import policy
from app.credentials.broker import Order
from app.credentials.cache import Issued
from app.credentials.ledger import Entry
from app.credentials.policy import Access
from app.problems import InvalidDuration

if TYPE_CHECKING:
    from app.runtime import Runtime

SHORTEST = 900
"""Seconds: the least that STS takes."""


async def issue(
    runtime: "Runtime", origin: Origin, actor: Actor, *, access: Access, path: str, duration: int | None
) -> Issued:
    """A credential for the actor's prefix, or the folder `path` in it: the cached one, or a new one in the ledger.

    No database connection is held while STS works; what happened to the session meanwhile is read again when the row is
    written. Raises `InvalidPath`, `InvalidDuration`, `RateLimited` and what `Broker.assume` raises; `InvalidToken` and
    `AccountDisabled` where the session was ended, or the user disabled, meanwhile.
    """
    settings = runtime.settings
    runtime.limiter.hit("issue_credentials", str(actor.user_id))
    prefix = policy.narrowed_prefix(actor.user_id, path)
    order = Order(
        user_id=actor.user_id,
        session_id=actor.session_id,
        access=access,
        prefix=prefix,
        duration=_duration(duration, settings.credential_ttl, settings.credential_max_ttl),
        role_arn=settings.role_arn,
        policy=policy.build(partition=settings.partition, bucket=settings.bucket, prefix=prefix, access=access),
    )

    async def issue_new() -> Issued:
        credential = await runtime.broker.assume(order)
        now = runtime.clock.now()
        entry = Entry(uuid.uuid4(), origin, order, credential, now)
        problem = await runtime.ledger.get(entry)
        if problem is not None:
            raise problem
        return Issued(entry.id, order, credential, now)

    return await runtime.credential_cache.obtain(order, issue_new)


def _duration(asked: int | None, usual: int, longest: int) -> int:
    if asked is None:
        return usual
    if not SHORTEST <= asked <= longest:
        raise InvalidDuration(f"`duration_seconds` is {SHORTEST} to {longest}.")
    return asked
