"""The password of a signed-in user, asked for again before something that only they may do (ASVS 6.2.3, 7.5.1)."""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit
from app.actor import Actor
from app.audit import Origin
from app.limits import account_key
from app.models import User
from app.problems import WrongPassword

if TYPE_CHECKING:
    from app.runtime import Runtime


async def verify_password(runtime: "Runtime", origin: Origin, actor: Actor, password: str) -> str:
    """The stored hash that the password was right for: who writes then sees that it is still the one.

    Each try counts as a guess, as at sign-in. Raises `WrongPassword` (so too where there is none), `RateLimited`,
    `Overloaded`.
    """
    email_key, password_hash = await runtime.database.read(_find, actor.user_id)
    key = account_key(runtime.vault, email_key or str(actor.user_id))
    await runtime.limiter.hit("guess", key)
    correct, _ = await runtime.hasher.verify(password, password_hash)
    if not correct or password_hash is None:
        await runtime.database.write(_record_refusal, origin, runtime.clock.now(), actor)
        raise WrongPassword
    await runtime.limiter.clear("guess", key)
    return password_hash


def _find(session: Session, user_id: uuid.UUID) -> tuple[str | None, str | None]:
    row = session.execute(select(User.email_key, User.password_hash).where(User.id == user_id)).one()
    return row.email_key, row.password_hash


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
