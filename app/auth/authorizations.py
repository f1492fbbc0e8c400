"""What a provider authorized the app to do, kept so that it can be revoked when the account ends (Apple's TN3194).

Apple asks an app to revoke its user's authorization when the account is deleted (review guideline 5.1.1(v)). Otherwise
the next sign-up tells no name. For that the app sends the authorization code of its sign-in, which works once and for
five minutes. It is exchanged for a refresh token, which is kept encrypted. Erasing the account, or unlinking the
identity, leaves the revocation to a job, and waits for nobody.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.auth.client_keys import Refused
from app.auth.oidc import OutsideIdentity
from app.auth.providers import FETCH_FAULTS, Provider, Providers
from app.crypto import kinds
from app.crypto.vault import DecryptionFailed, Vault
from app.platform.db import signal_after_commit
from app.platform.logs import log
from app.platform.process import Platform
from app.records import audit
from app.records.audit import Origin
from app.records.models import Identity, ProviderAuthorization

SEALED_AS = kinds.PROVIDER_TOKEN
SIGNAL = "authorizations"
ORIGIN = Origin(request_id="", address="authorizations")
LEASE = timedelta(minutes=5)
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=7)
"""After this long the token is deleted although the provider did not take it back, and the audit says so."""


@dataclass(frozen=True)
class _Due:
    id: uuid.UUID
    user_id: uuid.UUID
    provider: str
    client_id: str
    token: str | None = field(repr=False)
    """None if it was encrypted with another SECRET_KEY."""
    asked_at: datetime
    attempts: int


async def keep(platform: Platform, origin: Origin, provider: Provider, identity: OutsideIdentity, *, code: str) -> None:
    """Exchanges the code of a sign-in, and keeps the refresh token. A failure is on record, and stops nobody."""
    if provider.client_key is None:
        return
    try:
        token = await provider.client_key.exchange(
            code, client_id=identity.client_id, subject=identity.subject, now=platform.clock.now()
        )
        reason = None
    except Refused as refusal:
        token, reason = None, refusal.reason
    except FETCH_FAULTS:
        token, reason = None, "no_answer"
    if reason is not None:
        log.warning("authorization_not_kept", provider=provider.name, cause=reason)
    await platform.database.write(
        _keep, platform.vault, origin, platform.clock.now(), identity=identity, token=token, reason=reason
    )


def release(session: Session, now: datetime, *, user_id: uuid.UUID, identity: Identity | None = None) -> None:
    """Leaves the user's authorizations, or those of one identity, to the job."""
    which = [ProviderAuthorization.user_id == user_id, ProviderAuthorization.asked_at.is_(None)]
    if identity is not None:
        which.append(ProviderAuthorization.identity_id == identity.id)
    left = session.execute(
        update(ProviderAuthorization)
        .where(*which)
        .values(asked_at=now, next_try_at=now)
        .returning(ProviderAuthorization.id)
        .execution_options(synchronize_session=False)
    ).all()
    if left:
        signal_after_commit(session, SIGNAL)


async def revoke_next(platform: Platform, providers: Providers) -> bool:
    """Revokes one authorization that an account left behind. Returns whether there was one."""
    due = await platform.database.write(_take, platform.vault, platform.clock.now())
    if due is None:
        return False
    reason, final = await _revoke(platform, providers, due)
    await platform.database.write(_settle, platform.clock.now(), due, reason=reason, final=final)
    return True


async def _revoke(platform: Platform, providers: Providers, due: _Due) -> tuple[str | None, bool]:
    """Why it was not revoked, or None, and whether another try would get the same answer."""
    if due.token is None:
        return "secret_key_changed", False  # another replica may have its key
    client_key = providers.client_key(due.provider)
    if client_key is None:
        return "not_set_up", False
    try:
        await client_key.revoke(due.token, client_id=due.client_id, now=platform.clock.now())
    except Refused as refusal:
        return refusal.reason, refusal.for_good
    except FETCH_FAULTS:
        return "no_answer", False
    return None, True


def _keep(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    identity: OutsideIdentity,
    token: str | None,
    reason: str | None,
) -> None:
    owned = select(Identity).where(Identity.issuer == identity.issuer, Identity.subject == identity.subject)
    row = session.scalar(owned.with_for_update())
    if row is None:  # unlinked or erased a moment ago: nobody will ask for it again
        return
    if token is not None:
        kept_id = uuid.uuid4()
        mine = (ProviderAuthorization.identity_id == row.id, ProviderAuthorization.asked_at.is_(None))
        session.execute(delete(ProviderAuthorization).where(*mine))
        session.add(
            ProviderAuthorization(
                id=kept_id,
                user_id=row.user_id,
                identity_id=row.id,
                provider=row.provider,
                client_id=identity.client_id,
                token_encrypted=vault.encrypt(SEALED_AS, token.encode(), bound_to=str(kept_id)),
                created_at=now,
                attempts=0,
            )
        )
    audit.record(
        session,
        origin,
        "identity.authorization_kept",
        now,
        outcome="done" if reason is None else "refused",
        actor_id=row.user_id,
        subject_id=row.user_id,
        provider=row.provider,
        **_detail(reason),
    )


def _detail(reason: str | None) -> dict[str, Any]:
    return {} if reason is None else {"reason": reason}


def _take(session: Session, vault: Vault, now: datetime) -> _Due | None:
    waiting = (
        select(ProviderAuthorization.id)
        .where(ProviderAuthorization.next_try_at <= now)
        .order_by(ProviderAuthorization.next_try_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = session.scalar(
        update(ProviderAuthorization)
        .where(ProviderAuthorization.id == waiting)
        .values(next_try_at=now + LEASE, attempts=ProviderAuthorization.attempts + 1)
        .returning(ProviderAuthorization)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if row is None:
        return None
    try:
        token = vault.decrypt(SEALED_AS, row.token_encrypted, bound_to=str(row.id)).decode()
    except DecryptionFailed:
        token = None
    return _Due(row.id, row.user_id, row.provider, row.client_id, token, row.asked_at or now, row.attempts)


def _settle(session: Session, now: datetime, due: _Due, *, reason: str | None, final: bool) -> None:
    ours = (ProviderAuthorization.id == due.id, ProviderAuthorization.attempts == due.attempts)
    if reason is not None and not final and now < due.asked_at + GIVE_UP_AFTER:
        delay = min(FIRST_DELAY * 2 ** min(due.attempts - 1, 16), LONGEST_DELAY)
        session.execute(update(ProviderAuthorization).where(*ours).values(next_try_at=now + delay))
        log.warning("authorization_not_revoked_yet", provider=due.provider, attempts=due.attempts, cause=reason)
        return
    if session.execute(delete(ProviderAuthorization).where(*ours).returning(ProviderAuthorization.id)).first() is None:
        return  # another replica has taken over
    if reason is not None:
        log.error("authorization_not_revoked", provider=due.provider, attempts=due.attempts, cause=reason)
    audit.record(
        session,
        ORIGIN,
        "identity.authorization_revoked",
        now,
        outcome="done" if reason is None else "refused",
        subject_id=due.user_id,
        provider=due.provider,
        **_detail(reason),
    )
