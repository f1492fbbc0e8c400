"""Verifying an e-mail address: a link that was sent there is opened.

Before that an account may be registered again, by somebody else too. So each link carries the registration that it was
sent for, and makes that one the account's: nobody finds a stranger's password on what they verified (pre-hijacking).
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts import links
from app.accounts.links import Link
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.limits import account_key
from app.platform.process import Platform
from app.records import addresses, audit, single_use
from app.records.audit import Origin
from app.records.models import AuditEvent, IssuedCredential, User

TTL = timedelta(hours=24)


async def request(platform: Platform, origin: Origin, *, email: str) -> None:
    """Sends a link to an address that waits to be verified; for any other the same, less the mail.

    Raises `InvalidRequest`, `RateLimited`.
    """
    address = addresses.parse(email)
    await platform.limiter.hit("letter", account_key(platform.vault, address.key))
    await platform.database.write(_request, platform.vault, origin, platform.clock.now(), email_key=address.key)


async def confirm(platform: Platform, origin: Origin, *, token: str) -> None:
    """Verifies the address that the token was sent to. Raises `InvalidSingleUseToken`."""
    await platform.database.write(_confirm, platform.vault, origin, platform.clock.now(), token=token)


def send_link(session: Session, vault: Vault, now: datetime, user: User, registration: Mapping[str, Any]) -> None:
    """A link to the user's address. `registration` is `{password_hash, display_name}`, or empty to leave them alone."""
    token = single_use.issue(session, vault, now, "email_verification", ttl=TTL, user_id=user.id, data=registration)
    outbox.tell(session, vault, now, "verify_email", user, token=token)


def spend_a_link(session: Session, vault: Vault, now: datetime) -> str:
    """The work of making a link, for an address that gets none: nobody is told this token, and it opens nothing."""
    return single_use.issue(session, vault, now, "email_verification", ttl=TTL)


def is_open(session: Session, user: User) -> bool:
    """Whether the account is still anybody's who can read its mail: unverified, and never signed in to.

    Sessions are forgotten, and audit events where an operator says so; the ledger knows for good who may have pictures.
    An imported account is somebody's from the first, with a password, and maybe pictures, of before.
    """
    if user.status != "active" or user.role != "user" or user.email_verified_at is not None:
        return False
    taken = (AuditEvent.event.in_(("session.started", "user.imported")), AuditEvent.outcome == "done")
    signs = (
        select(AuditEvent.id).where(AuditEvent.subject_id == user.id, *taken),
        select(IssuedCredential.id).where(IssuedCredential.user_id == user.id),
    )
    return all(session.scalar(sign.limit(1)) is None for sign in signs)


def _request(session: Session, vault: Vault, origin: Origin, now: datetime, *, email_key: str) -> None:
    user = session.scalars(select(User).where(User.email_key == email_key).with_for_update()).one_or_none()
    if user is None or user.status != "active" or user.email_verified_at is not None:
        token = spend_a_link(session, vault, now)
        outbox.put(session, vault, now, "verify_email", about=None, recipient=None, token=token)
        audit.record(
            session,
            origin,
            "email.verification_requested",
            now,
            outcome="refused",
            subject_id=user.id if user else None,
            reason="nothing_to_verify",
        )
        return
    send_link(session, vault, now, user, _registration(session, user))
    audit.record(session, origin, "email.verification_requested", now, subject_id=user.id)


def _registration(session: Session, user: User) -> dict[str, Any]:
    """What a link that was asked for again stands for: the registration, if there was only one.

    Of several nobody knows whose the asker's is. The address is verified without a password then, which a reset gives.
    """
    if not is_open(session, user):
        return {}
    registrations = session.scalar(
        select(func.count())
        .select_from(AuditEvent)
        .where(AuditEvent.subject_id == user.id, AuditEvent.event == "user.registered", AuditEvent.outcome == "done")
    )
    if registrations and registrations > 1:
        return {"password_hash": None, "display_name": None}
    return {"password_hash": user.password_hash, "display_name": user.display_name}


def _confirm(session: Session, vault: Vault, origin: Origin, now: datetime, *, token: str) -> uuid.UUID:
    user, claimed = links.claim(session, vault, origin, now, Link("email_verification", token, "email.verified"))
    if claimed.data and is_open(session, user):
        user.password_hash = claimed.data["password_hash"]
        user.display_name = claimed.data["display_name"]
    user.email_verified_at = user.email_verified_at or now
    single_use.withdraw(session, now, "email_verification", user_id=user.id)
    audit.record(session, origin, "email.verified", now, actor_id=user.id, subject_id=user.id)
    return user.id
