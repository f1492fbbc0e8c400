"""Limits how many new credentials STS is asked for: by one user, from one client address, and by newcomers.

STS limits the calls a second of an AWS account. Guest accounts cost nothing, so all newcomers share one half of that
limit, and the other half is left to everybody else. The newcomers of one client address get a small part of their half,
so that even a hundred addresses do not use it up. A cached credential needs no call and does not count.
"""

import random
import uuid

from app.auth.tokens import AccessClaims
from app.platform.limits import LimitName, address_key
from app.platform.problems import RateLimited
from app.platform.process import Platform
from app.records import newcomers
from app.records.actor import Actor
from app.records.audit import Origin

SPREAD = (1, 8)
"""Seconds (range) after which a newcomer may ask again. It is random, so that they do not all return at once."""


def counter(actor: Actor | AccessClaims, *, for_sdk: bool = False) -> tuple[LimitName, str]:
    """What counts a wish for a credential: for each user, or if it is an SDK's, for each session.

    SDKs ask whenever they like, mostly for what is cached. Only what they get from STS counts for the user.
    """
    return ("container_credentials", str(actor.session_id)) if for_sdk else ("issue_credentials", str(actor.user_id))


async def admit(
    platform: Platform,
    origin: Origin,
    actor: Actor,
    *,
    for_sdk: bool = False,
    link_id: uuid.UUID | None = None,
    contributor_id: uuid.UUID | None = None,
) -> None:
    """Counts one new credential of the user, or of the user's link, or of somebody who contributes by it.

    The last has no account, so it counts as a newcomer's. Raises `RateLimited`.
    """
    await platform.limiter.hit("new_credential", str(contributor_id or link_id or actor.user_id))
    if for_sdk:  # after the lower limit: a program that asks on and on leaves the rest to apps
        await platform.limiter.hit(*counter(actor))
    await platform.limiter.hit("new_credential_from", address_key(origin.address))
    if contributor_id is None and not newcomers.is_newcomer(actor, platform.clock.now()):
        return
    try:
        await platform.limiter.hit("new_credential_of_newcomers_from", address_key(origin.address))
        await platform.limiter.hit("new_credential_for_newcomers", "all")
    except RateLimited:
        raise RateLimited(
            "Many new accounts ask for credentials at the moment. Try again.",
            retry_after=random.randint(*SPREAD),  # noqa: S311 - it spreads, it hides nothing
        ) from None
