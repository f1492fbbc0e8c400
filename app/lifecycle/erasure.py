"""Erasing an account, by its owner or an administrator: it ends at once, and a job empties its prefix."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, or_, select
from sqlalchemy.orm import Session

from app.accounts import reauthentication
from app.accounts.passwords import Hasher
from app.auth import authorizations, endings
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.problems import FieldError, InvalidRequest, InvalidToken, LastAdmin, StepUpRequired, WrongPassword
from app.platform.process import Platform
from app.records import audit, users
from app.records.actor import FRESH, Actor
from app.records.audit import Origin
from app.records.models import (
    DeviceSession,
    Erasure,
    Identity,
    OutboxMail,
    Passkey,
    RecoveryCode,
    SingleUseToken,
    TotpFactor,
    Usage,
    User,
    UserNote,
)
from app.records.users import is_last_admin
from app.sharing import grants, links

PROOF_NEEDED = "Send the account's password. A proxy may have dropped it: then step up, and send no body."
SIGN_INS = (SingleUseToken, TotpFactor, RecoveryCode, Passkey, Identity)
"""Rows that are deleted with the account at once. The ledger stays: it names no person, and traces every credential."""


async def erase(platform: Platform, hasher: Hasher, origin: Origin, actor: Actor, *, password: str | None) -> None:
    """Erases the actor's account: by its password, after a fresh step-up, or, if it has no password, a fresh sign-in.

    A second factor must have been shown in this session just now too: the password does not renew an older one. Raises
    `WrongPassword`, `RateLimited`, `Overloaded`, `StepUpRequired`, `LastAdmin`. Raises `InvalidRequest` if the password
    is missing, and `InvalidToken` if the session ended, or the user became an administrator, meanwhile.
    """
    verified_hash = None
    if await platform.database.read(_has_password, actor):
        if password is not None:
            verified_hash = await reauthentication.verify_password(platform, hasher, origin, actor, password)
        elif not await platform.database.read(_has_stepped_up, platform.clock.now(), actor):
            raise InvalidRequest(errors=[FieldError("body.password", "missing", PROOF_NEEDED)])
    elif not actor.is_fresh(platform.clock.now()):
        raise StepUpRequired("Sign in again, and erase the account within five minutes.")
    await platform.database.write(
        _erase,
        platform.vault,
        origin,
        platform.clock.now(),
        actor,
        verifies=platform.settings.verifies_email,
        verified_hash=verified_hash,
    )


def _has_password(session: Session, actor: Actor) -> bool:
    return session.scalar(select(User.password_hash).where(User.id == actor.user_id)) is not None


def _has_stepped_up(session: Session, now: datetime, actor: Actor) -> bool:
    """Whether the user proved a moment ago, within this session, who they are. The sign-in alone is no such proof."""
    family = session.get(DeviceSession, actor.session_id)
    return family is not None and family.created_at < family.authenticated_at >= now - FRESH


def _erase(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    actor: Actor,
    *,
    verifies: bool,
    verified_hash: str | None,
) -> None:
    if actor.role == "admin" and is_last_admin(session, actor.user_id):
        audit.record(
            session,
            origin,
            "user.erasure_requested",
            now,
            outcome="refused",
            actor_id=actor.user_id,
            subject_id=actor.user_id,
            session_id=actor.session_id,
            reason="last_admin",
        )
        raise LastAdmin
    user = users.lock_user(session, actor.user_id)
    if user.role == "admin" and actor.role != "admin":
        raise InvalidToken  # promoted since the request began, so the check for the last administrator was skipped
    proven = user.password_hash == verified_hash
    if not proven and not (verified_hash is None and _has_stepped_up(session, now, actor)):
        raise WrongPassword
    if not _second_factor_is_fresh(session, now, actor):
        raise StepUpRequired
    carry_out(session, vault, origin, now, user, verifies=verifies, actor=actor)


def carry_out(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    user: User,
    *,
    verifies: bool,
    actor: Actor | None,
    reason: str | None = None,
) -> None:
    """Ends the account of a locked user, and leaves its prefix to the job.

    `actor`: the owner or an administrator; None if a job of this service decides. `verifies`: whether this service
    requires verified addresses.
    """
    actor_id = actor.user_id if actor else None
    _forget_mails(session, user.id)
    outbox.tell(session, vault, now, "account_erased", user)
    held = user.email_key if grants.holds_address(user, verifies=verifies) else None
    user.email = user.email_key = user.email_verified_at = user.display_name = user.password_hash = None
    user.status, user.role, user.guest, user.last_seen_at = "erased", "user", False, None
    if actor_id == user.id and actor and not endings.is_alive(session, user_id=user.id, family_id=actor.session_id):
        raise InvalidToken  # the owner was signed out meanwhile
    endings.sign_out(session, origin, now, user_id=user.id, actor_id=actor_id, reason="erased")
    links.end_with_account(session, origin, now, owner_id=user.id, actor=actor)
    grants.end_with_account(session, origin, now, user_id=user.id, email_key=held, actor_id=actor_id)
    authorizations.release(session, now, user_id=user.id)
    for model in SIGN_INS:
        session.execute(delete(model).where(model.user_id == user.id))
    session.execute(delete(UserNote).where(UserNote.user_id == user.id))
    session.execute(delete(Usage).where(Usage.user_id == user.id))
    session.execute(
        insert(Erasure).values(user_id=user.id, requested_at=now, next_try_at=now, attempts=0, deleted_objects=0)
    )
    detail: dict[str, Any] = {"reason": reason} if reason else {}
    audit.record(
        session,
        origin,
        "user.erasure_requested",
        now,
        actor_id=actor_id,
        subject_id=user.id,
        session_id=actor.session_id if actor else None,
        **detail,
    )


def _second_factor_is_fresh(session: Session, now: datetime, actor: Actor) -> bool:
    """Whether the user has no second factor, or this session has just shown it."""
    if not users.mfa_enabled(session, actor.user_id):
        return True
    shown_at = session.scalar(select(DeviceSession.mfa_at).where(DeviceSession.id == actor.session_id))
    return shown_at is not None and now - shown_at <= FRESH


def _forget_mails(session: Session, user_id: uuid.UUID) -> None:
    """Deletes mails that are settled, and links, which no longer work. Notices that still wait are sent."""
    settled = or_(OutboxMail.sent_at.is_not(None), OutboxMail.failed_at.is_not(None))
    linked = OutboxMail.token_encrypted.is_not(None)
    session.execute(delete(OutboxMail).where(OutboxMail.user_id == user_id, or_(settled, linked)))
