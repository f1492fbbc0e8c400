"""Limits how many new credentials STS is asked for: by one user, from one client address, and by newcomers.

STS limits the calls a second of an AWS account. Guest accounts cost nothing, so all newcomers share one half of that
limit, and the other half is left to everybody else. The newcomers of one client address get a small part of their half,
so that even a hundred addresses do not use it up. A cached credential needs no call and does not count.
"""

import random

from app.platform.limits import address_key
from app.platform.problems import RateLimited
from app.platform.process import Platform
from app.records import newcomers
from app.records.actor import Actor
from app.records.audit import Origin

SPREAD = (1, 8)
"""Seconds (range) after which a newcomer may ask again. It is random, so that they do not all return at once."""


async def admit(platform: Platform, origin: Origin, actor: Actor) -> None:
    """Counts one new credential. Raises `RateLimited`."""
    await platform.limiter.hit("new_credential", str(actor.user_id))
    await platform.limiter.hit("new_credential_from", address_key(origin.address))
    if not newcomers.is_newcomer(actor, platform.clock.now()):
        return
    try:
        await platform.limiter.hit("new_credential_of_newcomers_from", address_key(origin.address))
        await platform.limiter.hit("new_credential_for_newcomers", "all")
    except RateLimited:
        raise RateLimited(
            "Many new accounts ask for credentials at the moment. Try again.",
            retry_after=random.randint(*SPREAD),  # noqa: S311 - it spreads, it hides nothing
        ) from None
