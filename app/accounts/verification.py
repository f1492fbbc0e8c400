"""Verifying an e-mail address by a link that is sent to it.

Until then anybody may register the account again. So each link carries the registration that it was sent for, and
opening it puts that registration into effect. Otherwise a user might verify an account with a stranger's password
(pre-hijacking).
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
from app.mail.bounds import Kind
from app.platform.limits import account_key
from app.platform.problems import InvalidSingleUseToken
from app.platform.process import Platform
from app.records import addresses, audit, single_use
from app.records.audit import Origin
from app.records.models import AuditEvent, IssuedCredential, User

TTL = timedelta(hours=24)


async def request(platform: Platform, origin: Origin, *, email: str) -> None:
    """Sends a link to an address that is not verified yet. For any other address it does the same without the mail.

    Raises `InvalidRequest`, `RateLimited`.
    """
    address = addresses.parse(email)
    await platform.limiter.hit("letter", account_key(platform.vault, address.key))
    await platform.database.write(_request, platform.vault, origin, platform.clock.now(), email_key=address.key)


async def confirm(platform: Platform, origin: Origin, *, token: str) -> None:
    """Verifies the address that the token was sent to, or does nothing if this very token has verified it.

    Raises `InvalidSingleUseToken`.
    """
    if await links.has_verified(platform, token):
        return
    try:
        await platform.database.write(_confirm, platform.vault, origin, platform.clock.now(), token=token)
    except InvalidSingleUseToken:
        if not await links.has_verified(platform, token):  # by another request, a moment ago
            raise


def send_link(
    session: Session,
    vault: Vault,
    now: datetime,
    user: User,
    registration: Mapping[str, Any],
    *,
    kind: Kind = "verify_email",
) -> None:
    """Sends a link to the user's address. `registration` is `{password_hash, display_name}`, or empty to keep both."""
    token = single_use.issue(session, vault, now, "email_verification", ttl=TTL, user_id=user.id, data=registration)
    outbox.tell(session, vault, now, kind, user, token=token)


def send_again(session: Session, vault: Vault, now: datetime, user: User) -> None:
    """Sends another link to the unverified address of a locked user, as the user could ask for it."""
    send_link(session, vault, now, user, _registration(session, user))


def verify_by_hand(session: Session, now: datetime, user: User) -> None:
    """Verifies the address of a locked user without a link.

    If several people registered the address, nobody knows whose password it is. Then it is removed, as by a link.
    """
    registration = _registration(session, user)
    if registration:
        user.password_hash, user.display_name = registration["password_hash"], registration["display_name"]
    user.email_verified_at = now
    single_use.withdraw(session, now, "email_verification", user_id=user.id)


def spend_a_link(session: Session, vault: Vault, now: datetime) -> str:
    """Does the work of making a link for an address that gets none. The token is told to nobody and opens nothing."""
    return single_use.issue(session, vault, now, "email_verification", ttl=TTL)


def is_open(session: Session, user: User) -> bool:
    """Whether the account still belongs to anybody who can read its mail: unverified, and never signed in to.

    Sessions are deleted after a while, and audit events too if the operator wants that. But the ledger keeps for good
    who may have stored objects. An imported account belongs to somebody from the start, with a password and perhaps
    objects.
    """
    if user.status != "active" or user.role != "user" or user.email_verified_at is not None:
        return False
    if user.import_id is not None:
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
    send_again(session, vault, now, user)
    audit.record(session, origin, "email.verification_requested", now, subject_id=user.id)


def _registration(session: Session, user: User) -> dict[str, Any]:
    """The registration that a link carries when it is requested again, if there was only one.

    If there were several, nobody knows which is the requester's. Then the link verifies the address without a password,
    and the user sets one by a reset.
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
    links.remember(session, vault, now, token, user)
    audit.record(session, origin, "email.verified", now, actor_id=user.id, subject_id=user.id)
    return user.id
