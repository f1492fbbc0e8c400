"""Tries at an account's passwords and codes: at most a hundred in a row, wherever they are made (NIST SP 800-63B-4
§3.2.2).

They are counted apart by what a caller had to know already: nothing, the password, or a session (see `LIMITS`). Each is
counted before it is verified, so that those at the same time count too. Counters are where limits are, perhaps in the
memory of each process, so an unlock by staff is a time in the user's row: a lock that is older counts no more.
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
"""The window of each of these limits: it began with the last try that counted."""


async def count_at_sign_in(platform: Platform, origin: Origin, *, email: str, email_key: str) -> Counter:
    """A password for an address. It counts the same where it is nobody's, or none at all: then its key is empty.

    Raises `RateLimited`.
    """
    counter = _passwords(platform.vault, email_key or email)
    await _hit(platform, origin, [counter], User.email_key == email_key)
    return counter


async def count_password(platform: Platform, origin: Origin, user: User) -> Counter:
    """The password of an account, by somebody who is not signed in to it: as one at sign-in. Raises `RateLimited`."""
    counter = passwords_of(platform.vault, user)
    await _hit(platform, origin, [counter], User.id == user.id)
    return counter


async def count_code(platform: Platform, origin: Origin, user_id: uuid.UUID) -> None:
    """A code by somebody whose sign-in waits for it. Raises `RateLimited`."""
    await _hit(platform, origin, [_codes(user_id)], User.id == user_id)


async def count_signed_in(platform: Platform, origin: Origin, actor: Actor) -> None:
    """A password or a code by a signed-in session. Raises `RateLimited`."""
    await _hit(platform, origin, _signed_in(actor), User.id == actor.user_id)


async def forget_signed_in(platform: Platform, actor: Actor) -> None:
    """The actor was seen to be the owner: what was counted was no attack. It ends a lock-out by strangers too."""
    user = await platform.database.read(_account, platform.vault, actor.user_id)
    await _clear(platform, [user, _codes(actor.user_id), *_signed_in(actor)])


async def forget_at_sign_in(platform: Platform, user_id: uuid.UUID) -> None:
    """A sign-in was completed, so its user is the owner. Tries of other sessions stay counted."""
    user = await platform.database.read(_account, platform.vault, user_id)
    await _clear(platform, [user, _codes(user_id), _by_all_sessions(user_id)])


async def forget(platform: Platform, counter: Counter) -> None:
    """The last of these tries was right."""
    await _clear(platform, [counter])


async def take_back(platform: Platform, counter: Counter) -> None:
    """Nobody could say whether the last one was right."""
    await platform.limiter.take_back(*counter)


async def take_back_signed_in(platform: Platform, actor: Actor) -> None:
    """The last one was right, and says nothing about the owner."""
    for counter in _signed_in(actor):
        await take_back(platform, counter)


def passwords_of(vault: Vault, user: User) -> Counter:
    """What passwords at sign-in are counted by."""
    return _passwords(vault, user.email_key or str(user.id))


async def locked_until(platform: Platform, users: Sequence[User]) -> list[datetime | None]:
    """Of each, until when a sign-in with a password or a code is refused; None where it is not.

    Where limits are in memory, this process knows of its own alone.
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
    """Forgets what was counted at a user whose `unlocked_at` is written. Other processes see that when they refuse."""
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
    """All of them, or none."""
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
    """Whether staff has ended a lock since the last try that counted. `wait`: seconds until it ends by itself."""
    return unlocked_at is not None and unlocked_at > now + timedelta(seconds=wait) - LOCKED_FOR


def _unlocked_at(session: Session, whose: ColumnElement[bool]) -> datetime | None:
    return session.scalar(select(User.unlocked_at).where(whose))


def _record_refusal(session: Session, origin: Origin, now: datetime, whose: ColumnElement[bool]) -> None:
    subject_id = session.scalar(select(User.id).where(whose))
    refusal = audit.Refusal(event="access.refused", reason="too_many_guesses", subject_id=subject_id)
    audit.record_refusal(session, origin, now, refusal)
