"""When a revocation takes effect: the moment by which the engine refuses what was revoked."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.platform.settings import Settings
from app.records import users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import IssuedCredential, RolePolicy
from app.revocation import marks as revocations


def effective_by(session: Session, now: datetime, settings: Settings, user_id: UUID) -> datetime:
    """When, at the latest, the engine refuses all revoked credentials of a user.

    An engine that is told of the revocation refuses them before they expire. If it is not told, or cannot be reached,
    only their expiry is promised.
    """
    ledger = IssuedCredential
    of_told, of_withheld = ledger.withheld.is_(False), ledger.withheld.is_(True)
    revoked_at, last_told, last_withheld = session.execute(
        select(
            func.max(ledger.revoked_at).filter(of_told),
            func.max(ledger.expires_at).filter(of_told),
            func.max(ledger.expires_at).filter(of_withheld),
        ).where(
            ledger.user_id == user_id,
            ledger.issued_at > now - revocations.LONGEST_LIFE,
            ledger.revoked_at.is_not(None),
            ledger.expires_at > now,
        )
    ).one()
    if last_told is not None and revoked_at is not None and _tells(session, settings):
        last_told = min(last_told, revoked_at + timedelta(seconds=settings.revocation_delay))
    return max(moment for moment in (now, last_told, last_withheld) if moment is not None)


def effective_by_of_any(session: Session, now: datetime, settings: Settings, *, told: bool) -> datetime:
    """The same for a revocation made now, without looking at credentials. So the answer does not tell who has any.

    `told`: whether the engine is told, regardless of whom the revocation is about.
    """
    longest = timedelta(seconds=settings.longest_ttl)
    if not told or not _tells(session, settings):
        return now + longest
    return now + min(longest, timedelta(seconds=settings.revocation_delay))


def effective_by_of(session: Session, settings: Settings, credential: IssuedCredential) -> datetime | None:
    """The same for one credential of the ledger; None if it is not revoked."""
    if credential.withdrawn_at is None:
        return None
    if (
        settings.revocation == "off"
        or credential.withheld
        or revocations.is_pending(session, credential.user_id, credential.session_id)
    ):
        return credential.expires_at
    return min(credential.expires_at, credential.withdrawn_at + timedelta(seconds=settings.revocation_delay))


def _tells(session: Session, settings: Settings) -> bool:
    """Whether the engine is told of revocations, and the last write reached it."""
    told = session.get(RolePolicy, settings.role_arn)
    return settings.revocation != "off" and (told is None or not told.failures)


def revoke_own(
    session: Session, origin: Origin, now: datetime, settings: Settings, actor: Actor
) -> tuple[int, datetime]:
    """Revokes the live credentials of a user, who gets new ones. Returns their number and when they stop.

    Raises `AccountDisabled`.
    """
    user = users.lock_user(session, actor.user_id)
    count = revocations.revoke_user(
        session, origin, now, user_id=user.id, actor_id=user.id, session_id=actor.session_id, reason="own_wish"
    )
    return count, effective_by(session, now, settings, user.id)
