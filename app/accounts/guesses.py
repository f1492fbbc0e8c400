"""Limits guesses at an account's passwords and codes: at most a hundred in a row, wherever they are made (NIST SP
800-63B-4 §3.2.2).

Guesses are counted separately by what the caller had to know already: nothing, the password, or a session (see
`LIMITS`). A guess is counted before it is verified, so that simultaneous guesses count too. The counters are stored
with the limits, perhaps in the memory of each process. So an unlock by staff is a time in the user's row, and locks
from before it are void.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.crypto.vault import Vault
from app.platform.limits import Counter, account_key
from app.platform.problems import RateLimited
from app.platform.process import Platform
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import User

LOCKED_FOR = timedelta(days=1)
"""The window of each of these limits. It begins with the last guess that counted."""


async def count_at_sign_in(platform: Platform, origin: Origin, *, email: str, email_key: str) -> Counter:
    """Counts a password for an address. An address without an account, or an invalid one (with an empty key), counts
    the same way.

    Raises `RateLimited`.
    """
    counter = _passwords(platform.vault, email_key or email)
    await _hit(platform, origin, [counter], User.email_key == email_key)
    return counter


async def count_password(platform: Platform, origin: Origin, user: User) -> Counter:
    """Counts a password by somebody who is not signed in to the account, like one at sign-in. Raises `RateLimited`."""
    counter = passwords_of(platform.vault, user)
    await _hit(platform, origin, [counter], User.id == user.id)
    return counter


async def count_code(platform: Platform, origin: Origin, user_id: uuid.UUID) -> None:
    """Counts a code by a caller whose sign-in waits for it. Raises `RateLimited`."""
    await _hit(platform, origin, [_codes(user_id)], User.id == user_id)


async def count_signed_in(platform: Platform, origin: Origin, actor: Actor) -> None:
    """Counts a password or a code by a signed-in session. Raises `RateLimited`."""
    await _hit(platform, origin, _signed_in(actor), User.id == actor.user_id)


async def forget_signed_in(platform: Platform, actor: Actor) -> None:
    """Clears the counters, because the actor has proved to be the owner. This also ends a lock caused by strangers."""
    user = await platform.database.read(_account, platform.vault, actor.user_id)
    await _clear(platform, [user, _codes(actor.user_id), *_signed_in(actor)])


async def forget_at_sign_in(platform: Platform, user_id: uuid.UUID) -> None:
    """Clears the counters after a sign-in, because its user is the owner. Guesses in other sessions still count."""
    user = await platform.database.read(_account, platform.vault, user_id)
    await _clear(platform, [user, _codes(user_id), _by_all_sessions(user_id)])


async def forget(platform: Platform, counter: Counter) -> None:
    """Clears the counter, because the last guess was right."""
    await _clear(platform, [counter])


async def take_back(platform: Platform, counter: Counter) -> None:
    """Uncounts the last guess, because it could not be verified or says nothing about the owner."""
    await platform.limiter.take_back(*counter)


async def take_back_signed_in(platform: Platform, actor: Actor) -> None:
    """Uncounts the actor's last guess, which was right but does not prove the owner."""
    for counter in _signed_in(actor):
        await take_back(platform, counter)


def passwords_of(vault: Vault, user: User) -> Counter:
    """The counter of passwords at sign-in."""
    return _passwords(vault, user.email_key or str(user.id))


async def locked_until(platform: Platform, users: Sequence[User]) -> list[datetime | None]:
    """For each user, until when sign-ins with a password or a code are refused; None if they are not.

    If limits are in memory, this process knows only its own.
    """
    now = platform.clock.now()
    counters = [counter for user in users for counter in (passwords_of(platform.vault, user), _codes(user.id))]
    waits = await platform.limiter.waits(counters)
    until = [max(waits[at : at + 2]) for at in range(0, len(waits), 2)]
    return [
        now + timedelta(seconds=wait) if wait and not _is_void(now, wait, user.unlocked_at) else None
        for user, wait in zip(users, until, strict=True)
    ]


async def unlock(platform: Platform, user: User) -> None:
    """Clears the counters of a user whose `unlocked_at` is written. Other processes read it before they refuse."""
    await _clear(platform, [passwords_of(platform.vault, user), _codes(user.id), _by_all_sessions(user.id)])


def _passwords(vault: Vault, account: str) -> Counter:
    return "guess", account_key(vault, account)


def _codes(user_id: uuid.UUID) -> Counter:
    return "code_guess", str(user_id)


def _by_all_sessions(user_id: uuid.UUID) -> Counter:
    return "own_guess", str(user_id)


def _signed_in(actor: Actor) -> list[Counter]:
    return [("session_guess", str(actor.session_id)), _by_all_sessions(actor.user_id)]


def _account(session: Session, vault: Vault, user_id: uuid.UUID) -> Counter:
    email_key = session.scalar(select(User.email_key).where(User.id == user_id))
    return _passwords(vault, email_key or str(user_id))


async def _clear(platform: Platform, counters: Sequence[Counter]) -> None:
    for counter in counters:
        await platform.limiter.clear(*counter)


async def _hit(platform: Platform, origin: Origin, counters: Sequence[Counter], whose: ColumnElement[bool]) -> None:
    """Counts the guess in all counters, or in none if one of them refuses."""
    for at, counter in enumerate(counters):
        try:
            await _hit_once(platform, counter, whose)
        except RateLimited:
            for counted in counters[:at]:
                await platform.limiter.take_back(*counted)
            await platform.database.write(_record_refusal, origin, platform.clock.now(), whose)
            raise


async def _hit_once(platform: Platform, counter: Counter, whose: ColumnElement[bool]) -> None:
    try:
        await platform.limiter.hit(*counter)
    except RateLimited as problem:
        unlocked_at = await platform.database.read(_unlocked_at, whose)
        if not _is_void(platform.clock.now(), problem.retry_after or 0, unlocked_at):
            raise
        await platform.limiter.clear(*counter)
        await platform.limiter.hit(*counter)


def _is_void(now: datetime, wait: float, unlocked_at: datetime | None) -> bool:
    """Whether staff has ended a lock since the last guess that counted. `wait`: seconds until it ends by itself."""
    return unlocked_at is not None and unlocked_at > now + timedelta(seconds=wait) - LOCKED_FOR


def _unlocked_at(session: Session, whose: ColumnElement[bool]) -> datetime | None:
    return session.scalar(select(User.unlocked_at).where(whose))


def _record_refusal(session: Session, origin: Origin, now: datetime, whose: ColumnElement[bool]) -> None:
    subject_id = session.scalar(select(User.id).where(whose))
    refusal = audit.Refusal(event="access.refused", reason="too_many_guesses", subject_id=subject_id)
    audit.record_refusal(session, origin, now, refusal)
