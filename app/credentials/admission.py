"""How many new credentials STS is asked for: by one user, from one client address, and by all newcomers together.

STS takes so many calls a second from an account, whoever asks. Guest accounts cost nothing, so newcomers share one half
of that: whatever they do, the other half is left to everybody else. What is cached asks for nothing and counts nowhere.
"""

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from app.actor import Actor
from app.audit import Origin
from app.limits import address_key
from app.problems import RateLimited

if TYPE_CHECKING:
    from app.runtime import Runtime

NEWCOMER = timedelta(days=1)
"""How long an account is a newcomer's. A guest stays one, and so does a user whose address has to be verified first."""
SPREAD = (1, 8)
"""Seconds after which a newcomer may ask again, so that not all of them come back in the same second."""


def is_newcomer(runtime: "Runtime", actor: Actor) -> bool:
    """Whether the account was easy to get, and so may be one of very many."""
    unverified = actor.unverified and runtime.settings.verifies_email
    return actor.guest or unverified or runtime.clock.now() - actor.created_at < NEWCOMER


async def admit(runtime: "Runtime", origin: Origin, actor: Actor) -> None:
    """Counts one new credential. Raises `RateLimited`."""
    await runtime.limiter.hit("new_credential", str(actor.user_id))
    await runtime.limiter.hit("new_credential_from", address_key(origin.address))
    if not is_newcomer(runtime, actor):
        return
    try:
        await runtime.limiter.hit("new_credential_for_newcomers", "all")
    except RateLimited:
        raise RateLimited(
            "Many new accounts ask for credentials at the moment. Try again.",
            retry_after=random.randint(*SPREAD),  # noqa: S311 - it spreads, it hides nothing
        ) from None
