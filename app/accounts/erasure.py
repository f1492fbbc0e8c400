"""Erasing an account from inside the app: at once it is nobody's, and a job empties its prefix."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from app import audit
from app.accounts import profile, reauthentication
from app.actor import Actor
from app.audit import Origin
from app.crypto import Vault
from app.mail import outbox
from app.models import DeviceSession, Erasure, Identity, Passkey, RecoveryCode, SingleUseToken, TotpFactor, User
from app.problems import FieldError, InvalidRequest, LastAdmin, StepUpRequired, WrongPassword

if TYPE_CHECKING:
    from app.runtime import Runtime

SIGN_INS = (SingleUseToken, TotpFactor, RecoveryCode, Passkey, Identity)
"""What belongs to an account and goes with it at once. The ledger stays: it names no person, and traces every key."""


async def erase(runtime: "Runtime", origin: Origin, actor: Actor, *, password: str | None) -> None:
    """Ends the account: who has a password gives it, who has none signed in a moment ago.

    Raises `WrongPassword`, `RateLimited`, `Overloaded`, `InvalidRequest` without a password that is needed,
    `StepUpRequired`, `LastAdmin`.
    """
    verified_hash = None
    if await runtime.database.read(_has_password, actor):
        if password is None:
            raise InvalidRequest(errors=[FieldError("body.password", "missing", "Send the account's password.")])
        verified_hash = await reauthentication.verify_password(runtime, origin, actor, password)
    elif not actor.is_fresh(runtime.clock.now()):
        raise StepUpRequired("Sign in again, and erase the account within five minutes.")
    await runtime.database.write(_erase, runtime.vault, origin, runtime.clock.now(), actor, verified_hash=verified_hash)


def _has_password(session: Session, actor: Actor) -> bool:
    return session.scalar(select(User.password_hash).where(User.id == actor.user_id)) is not None


def _erase(
    session: Session, vault: Vault, origin: Origin, now: datetime, actor: Actor, *, verified_hash: str | None
) -> None:
    if actor.role == "admin":
        keep_an_admin(session, actor)
    user = profile.lock_user(session, actor.user_id)
    if user.password_hash != verified_hash:
        raise WrongPassword
    if user.email is not None:
        outbox.put(session, vault, now, "account_erased", recipient=user.email)
    user.email = user.email_key = user.email_verified_at = user.display_name = user.password_hash = None
    user.status, user.role, user.guest = "erased", "user", False
    session.execute(
        update(DeviceSession)
        .where(DeviceSession.user_id == user.id, DeviceSession.ended_at.is_(None))
        .values(ended_at=now, end_reason="erased")
        .execution_options(synchronize_session=False)
    )
    for model in SIGN_INS:
        session.execute(delete(model).where(model.user_id == user.id))
    session.execute(
        insert(Erasure).values(user_id=user.id, requested_at=now, next_try_at=now, attempts=0, deleted_objects=0)
    )
    audit.record(
        session,
        origin,
        "user.erasure_requested",
        now,
        actor_id=actor.user_id,
        subject_id=user.id,
        session_id=actor.session_id,
    )


def keep_an_admin(session: Session, actor: Actor) -> None:
    """Raises `LastAdmin`. It locks all administrators, in one order, so of two who leave at once one stays."""
    admins = select(User.id).where(User.role == "admin", User.status == "active").order_by(User.id).with_for_update()
    if session.scalars(admins).all() == [actor.user_id]:
        raise LastAdmin
