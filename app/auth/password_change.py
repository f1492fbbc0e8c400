"""Changing the password: the user knows the current one, or has none and has just signed in."""

import dataclasses
from datetime import datetime

from sqlalchemy.orm import Session

from app.accounts.passwords import Hasher
from app.accounts.reauthentication import verify_owner
from app.auth import endings
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.limits import address_key
from app.platform.problems import FieldError, InvalidRequest, WeakPassword, WrongPassword
from app.platform.process import Platform
from app.records import audit, single_use, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import User


async def change(
    platform: Platform,
    hasher: Hasher,
    origin: Origin,
    actor: Actor,
    *,
    current_password: str | None,
    new_password: str,
) -> None:
    """Sets a new password. The user's other sessions end, and the user is told by mail.

    Raises `WrongPassword`, `StepUpRequired`, `WeakPassword`, `RateLimited`, `Overloaded`. Raises `InvalidRequest` for a
    guest, who has no address to sign in with.
    """
    if actor.guest:
        raise InvalidRequest(
            errors=[
                FieldError(
                    "body.new_password", "guest", "A guest has no password to change. Upgrade the account instead."
                )
            ]
        )
    current_hash = await verify_owner(platform, hasher, origin, actor, current_password)
    await platform.limiter.hit("change_password", str(actor.user_id))
    user = await platform.database.read(users.get_user, actor.user_id)
    new_hash = await hash_new(platform, hasher, origin, user, new_password)
    await platform.database.write(
        _change, platform.vault, origin, platform.clock.now(), actor=actor, current_hash=current_hash, new_hash=new_hash
    )


async def hash_new(platform: Platform, hasher: Hasher, origin: Origin, user: User, new_password: str) -> str:
    """The hash of the `new_password` of a request's body. Raises `WeakPassword`, `Overloaded`."""
    context = (user.email or "", user.display_name or "")
    try:
        return await hasher.hash(
            new_password,
            by=address_key(origin.address),
            min_length=platform.settings.password_min_length,
            context=context,
        )
    except WeakPassword as problem:
        errors = [dataclasses.replace(error, location="body.new_password") for error in problem.errors]
        raise WeakPassword(errors=errors) from None


def replace_hash(session: Session, vault: Vault, now: datetime, user: User, new_hash: str) -> None:
    """Sets the password of a locked user, and tells them by mail.

    Cancels password resets and address changes under way, and sign-ins that wait for a second factor.
    """
    user.password_hash = new_hash
    single_use.withdraw(session, now, "password_reset", "email_change", "email_verification", "mfa", user_id=user.id)
    outbox.tell(session, vault, now, "password_changed", user)


def _change(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    actor: Actor,
    current_hash: str | None,
    new_hash: str,
) -> None:
    user = users.lock_user(session, actor.user_id)
    if user.password_hash != current_hash:
        raise WrongPassword  # it was changed during the verification
    replace_hash(session, vault, now, user, new_hash)
    endings.sign_out(
        session,
        origin,
        now,
        user_id=user.id,
        actor_id=user.id,
        keeping=actor.session_id,
        reason="password_changed",
    )
    audit.record(
        session,
        origin,
        "password.changed",
        now,
        actor_id=user.id,
        subject_id=user.id,
        session_id=actor.session_id,
    )
