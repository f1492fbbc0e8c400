"""Asks a signed-in user for the password again before something that only the owner may do (ASVS 6.2.3, 7.5.1)."""

import uuid
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import guesses
from app.accounts.passwords import Hasher
from app.platform.limits import address_key
from app.platform.problems import RateLimited, StepUpRequired, WrongPassword
from app.platform.process import Platform
from app.records import audit, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import User


async def verify_password(platform: Platform, hasher: Hasher, origin: Origin, actor: Actor, password: str) -> str:
    """Verifies the password. Returns its stored hash, so that a later write can check that it is unchanged.

    Each try counts as a guess by the session. Strangers' guesses at sign-in are counted separately. A right password
    clears the counters only if there is no second factor left to guess. Raises `WrongPassword` (also if the account has
    no password), `RateLimited`, `Overloaded`.
    """
    await guesses.count_signed_in(platform, origin, actor)
    try:  # counted second, so that a session refused for its guesses takes nothing from the user's other sessions
        await platform.limiter.hit("own_password", str(actor.user_id))
    except RateLimited:
        await guesses.take_back_signed_in(platform, actor)
        raise
    password_hash, mfa_enabled = await platform.database.read(_find, actor.user_id)
    correct, _ = await hasher.verify(password, password_hash, by=address_key(origin.address))
    if not correct or password_hash is None:
        await platform.database.write(_record_refusal, origin, platform.clock.now(), actor)
        raise WrongPassword
    if mfa_enabled:  # a thief with session and password must not get endless tries at codes
        await guesses.take_back_signed_in(platform, actor)
    else:
        await guesses.forget_signed_in(platform, actor)
    return password_hash


async def verify_owner(
    platform: Platform, hasher: Hasher, origin: Origin, actor: Actor, password: str | None
) -> str | None:
    """Verifies the owner by the password or, if the account has none, by a fresh sign-in.

    Returns the stored hash, as `verify_password` does, or None without a password.
    Raises `WrongPassword`, `StepUpRequired`, `RateLimited`, `Overloaded`.
    """
    if password is not None:
        return await verify_password(platform, hasher, origin, actor, password)
    password_hash, _ = await platform.database.read(_find, actor.user_id)
    if password_hash is not None:
        await platform.database.write(_record_refusal, origin, platform.clock.now(), actor)
        raise WrongPassword
    if not actor.is_fresh(platform.clock.now()):
        raise StepUpRequired
    return None


def _find(session: Session, user_id: uuid.UUID) -> tuple[str | None, bool]:
    password_hash = session.scalar(select(User.password_hash).where(User.id == user_id))
    return password_hash, users.mfa_enabled(session, user_id)


def _record_refusal(session: Session, origin: Origin, now: datetime, actor: Actor) -> None:
    audit.record(
        session,
        origin,
        "password.asked",
        now,
        outcome="refused",
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
        reason="wrong_password",
    )
