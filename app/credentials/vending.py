"""Vending: from a signed-in user's wish to a credential for their own prefix."""

import asyncio
import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from app.actor import Actor
from app.audit import Origin
from app.auth import authentication
from app.credentials import policy, quota
from app.credentials.broker import StsCredential
from app.credentials.cache import Issued
from app.credentials.ledger import Entry
from app.credentials.orders import Order, Purpose
from app.credentials.policy import Access
from app.problems import FieldError, InvalidDuration, InvalidRequest, StsUnavailable
from app.settings import LONGEST_CHAINED

if TYPE_CHECKING:
    from app.runtime import Runtime

SHORTEST = 900
"""Seconds: the least that STS takes."""
TRIES = 3
"""Where credentials are revoked again and again meanwhile, or STS's clock is behind ours."""


class RevokedMeanwhile(Exception):
    """What STS issued is revoked already: the actor's credentials were while it was working."""


async def issue(
    runtime: "Runtime",
    origin: Origin,
    actor: Actor,
    *,
    access: Access,
    path: str,
    duration: int | None,
    purpose: Purpose | None = None,
) -> Issued:
    """A credential for the actor's prefix, or the folder `path` in it: the cached one, or a new one in the ledger.

    No database connection is held while STS works; what happened to the session meanwhile is read again when the row is
    written. Right after a revocation it waits, for a second at most, so that the new one is not of the revoked.
    An `upload` lease writes in one folder, does nothing else, and may live longer.
    Raises `InvalidRequest` for a lease that would do more, `InvalidPath`, `PolicyTooLarge`, `InvalidDuration`,
    `RateLimited`, `QuotaExceeded` and what `Broker.obtain` raises; `InvalidToken` and `AccountDisabled` where the
    session was ended, or the user disabled, meanwhile.
    """
    await runtime.limiter.hit("issue_credentials", str(actor.user_id))
    if purpose is not None:
        _refuse_wide_lease(access, path)
    settings, seconds = runtime.settings, await _duration(runtime, duration, purpose)
    for _ in range(TRIES):
        order = make_order(
            runtime,
            actor.user_id,
            actor.session_id,
            access=access,
            path=path,
            duration=seconds,
            not_before=actor.not_before,
            purpose=purpose,
        )
        try:
            return await _issue(runtime, origin, order, quota.effective(settings, actor.quota_bytes))
        except RevokedMeanwhile:
            actor = await authentication.look_up(runtime, origin, user_id=actor.user_id, session_id=actor.session_id)
    raise StsUnavailable("Credentials are being revoked at the moment. Try again.", cause="revoked", retry_after=1)


async def _issue(runtime: "Runtime", origin: Origin, order: Order, allowance: int | None) -> Issued:
    """Raises `RevokedMeanwhile`, and what `issue` does."""

    async def issue_new() -> Issued:
        if allowance is not None and order.access != "read":  # cached ones are revoked where it was reached since
            await quota.admit(runtime, origin, order, quota=allowance)
        credential = await _obtain(runtime, order)
        now = runtime.clock.now()
        entry = Entry(uuid.uuid4(), origin, order, credential, now)
        problem = await runtime.ledger.get(entry)
        if problem is not None:
            raise problem
        # After the commit: a revocation that did not see our row has been committed before it.
        state = await runtime.session_states.get(order.session_id)
        if state is not None and state.not_before != order.not_before:
            raise RevokedMeanwhile
        return Issued(entry.id, order, credential, now)

    issued = await runtime.credential_cache.obtain(order, issue_new)
    if not issued.fresh(runtime.clock.now()):
        # STS took its time to fail, and the session may have ended meanwhile: for a new one the ledger would tell.
        await authentication.look_up(runtime, origin, user_id=order.user_id, session_id=order.session_id)
    return issued


async def _obtain(runtime: "Runtime", order: Order) -> StsCredential:
    """A credential that no revocation of before reaches. Raises what `Broker.obtain` raises."""
    for _ in range(TRIES):
        if order.not_before is not None:
            left = (order.not_before - runtime.clock.now()).total_seconds()
            await asyncio.sleep(min(max(left, 0), 1))
        credential = await runtime.broker.obtain(order)
        issued_at = order.issued_at(credential.expires_at)
        if order.not_before is None or issued_at >= order.not_before:
            return credential
        await asyncio.sleep(min((order.not_before - issued_at).total_seconds(), 1))
    raise StsUnavailable(cause="STS's clock is behind that of a revocation", retry_after=2)


def make_order(
    runtime: "Runtime",
    user_id: uuid.UUID,
    session_id: uuid.UUID,
    *,
    access: Access,
    path: str,
    duration: int,
    not_before: datetime | None = None,
    purpose: Purpose | None = None,
) -> Order:
    """Raises `InvalidPath`, `PolicyTooLarge`."""
    settings, terms = runtime.settings, runtime.terms
    prefix = policy.narrowed_prefix(user_id, path)
    text = policy.build(
        partition=settings.partition,
        bucket=settings.bucket,
        prefix=prefix,
        access=access,
        encryption=runtime.encryption,
        fenced=bool(terms.policy_arns),
    )
    return Order(user_id, session_id, access, prefix, duration, text, terms, not_before, purpose)


def _refuse_wide_lease(access: Access, path: str) -> None:
    errors = []
    if access != "write":
        errors.append(FieldError("body.access", "not_for_upload", "An upload lease has the access `write`."))
    if path == "":
        errors.append(FieldError("body.path", "missing", "An upload lease is for one folder."))
    if errors:
        raise InvalidRequest(errors=errors)


async def _duration(runtime: "Runtime", asked: int | None, purpose: Purpose | None) -> int:
    """Seconds. A chained role gives an hour at most: more by default is cut to that, more by wish is refused."""
    settings = runtime.settings
    longest, default = settings.credential_max_ttl, settings.credential_ttl
    if purpose == "upload":
        longest = default = settings.upload_ttl
    seconds = default if asked is None else asked
    if not SHORTEST <= seconds <= longest:
        raise InvalidDuration(f"`duration_seconds` is {SHORTEST} to {longest}.")
    if seconds <= LONGEST_CHAINED or not await runtime.broker.chains_roles():
        return seconds
    if asked is not None:
        raise InvalidDuration(
            f"`duration_seconds` is {SHORTEST} to {LONGEST_CHAINED}: this service runs with a role, and AWS gives a "
            "role that assumes another one an hour at most."
        )
    return LONGEST_CHAINED
