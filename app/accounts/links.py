"""Opening a link from a mail. A link is for one user and works once. One that verified an address says so again.

Opening it shows that somebody reads the mail of an address. It does not show that they asked for the account that the
link is for. So a link that gives an account its address is confirmed in a session of that account, or with its
password. Otherwise a click on a button might give one's address to a stranger's account.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.accounts import guesses
from app.accounts.passwords import Hasher
from app.crypto import kinds
from app.crypto.vault import Vault
from app.platform.limits import address_key
from app.platform.problems import AccountPasswordRequired, AccountSessionRequired, InvalidSingleUseToken, WrongPassword
from app.platform.process import Platform
from app.records import audit, single_use
from app.records.actor import Actor
from app.records.audit import Event, Origin
from app.records.models import User
from app.records.single_use import Claim, Purpose

REMEMBERED_FOR = timedelta(days=30)
"""How long a link says again that it has verified its address."""
MOST_TRIES = 5
"""Tries at the password for each link."""


@dataclass(frozen=True)
class Link:
    """The token of a link that was opened. A refusal is recorded as `event`."""

    purpose: Purpose
    token: str
    event: Event


@dataclass(frozen=True)
class Guard:
    """The password, if any, that confirms a link outside a session of its user.

    It is the password of `account`, or one that the link sets.
    """

    password_hash: str | None
    account: User | None = None


FindGuard = Callable[[Session, Claim], Guard]


async def verify_opener(
    platform: Platform,
    hasher: Hasher,
    origin: Origin,
    actor: Actor | None,
    link: Link,
    *,
    password: str | None,
    find_guard: FindGuard,
) -> bool:
    """Whether the link is confirmed by the password, outside a session of its user.

    Each try at the password is counted before it is verified: for the link, and as a guess at the account. Raises
    `InvalidSingleUseToken`, `AccountPasswordRequired`, `AccountSessionRequired`, `WrongPassword`, `RateLimited`,
    `Overloaded`.
    """
    now = platform.clock.now()
    try:
        found, guard = await platform.database.read(_find, platform.vault, now, link, find_guard)
    except InvalidSingleUseToken:
        await platform.database.write(_record_refusal, origin, now, link, reason="invalid_token")
        raise
    if actor is not None and actor.user_id == found.user_id:
        return False
    if guard.password_hash is None:
        raise AccountSessionRequired
    if password is None:
        raise AccountPasswordRequired
    if not await _is_right(platform, hasher, origin, link, guard=guard, password=password):
        await platform.database.write(
            _record_refusal, origin, now, link, reason="wrong_password", subject_id=found.user_id
        )
        raise WrongPassword
    return True


async def _is_right(
    platform: Platform, hasher: Hasher, origin: Origin, link: Link, *, guard: Guard, password: str
) -> bool:
    now, wrong = platform.clock.now(), False
    guess = await guesses.count_password(platform, origin, guard.account) if guard.account else None
    try:
        await platform.database.write(
            single_use.attempt, platform.vault, now, link.purpose, link.token, most=MOST_TRIES
        )
        correct, _ = await hasher.verify(password, guard.password_hash, by=address_key(origin.address))
        wrong = not correct
    except InvalidSingleUseToken:
        await platform.database.write(_record_refusal, origin, now, link, reason="invalid_token")
        raise
    finally:
        if guess and not wrong:
            await guesses.take_back(platform, guess)
    return not wrong


def claim(session: Session, vault: Vault, origin: Origin, now: datetime, link: Link) -> tuple[User, Claim]:
    """Uses the token up. Returns its active user, locked by this transaction, and what the token carries.

    The user is locked before the token, because a change of the account withdraws its tokens. Raises
    `InvalidSingleUseToken`, and records that as a refused event of the link.
    """
    try:
        found = single_use.find(session, vault, now, link.purpose, link.token)
        user = session.get(User, found.user_id, with_for_update=True) if found.user_id else None
        claimed = single_use.claim(session, vault, now, link.purpose, link.token)
    except InvalidSingleUseToken:
        _record_refusal(session, origin, now, link, reason="invalid_token")
        raise InvalidSingleUseToken(keeps_writes=True) from None
    if user is None or user.status != "active":
        _record_refusal(session, origin, now, link, reason="disabled", subject_id=found.user_id)
        raise InvalidSingleUseToken(keeps_writes=True)
    return user, claimed


def remember(session: Session, vault: Vault, now: datetime, token: str, user: User) -> None:
    """Notes that the link has verified the user's address. People open a link twice, on two devices or by mistake."""
    data = {"address": vault.digest(kinds.LINK_ADDRESS, _address(user)).hex()}
    single_use.store(session, vault, now, "confirmed_link", token, ttl=REMEMBERED_FOR, user_id=user.id, data=data)


async def has_verified(platform: Platform, token: str) -> bool:
    """Whether this very link has verified the address that its user still has. Then there is nothing left to do."""
    return await platform.database.read(_has_verified, platform.vault, platform.clock.now(), token)


def _has_verified(session: Session, vault: Vault, now: datetime, token: str) -> bool:
    try:
        found = single_use.find(session, vault, now, "confirmed_link", token)
    except InvalidSingleUseToken:
        return False
    user = session.get(User, found.user_id)
    if user is None or user.status != "active" or user.email_verified_at is None:
        return False
    return vault.matches(kinds.LINK_ADDRESS, bytes.fromhex(found.data["address"]), _address(user))


def _address(user: User) -> bytes:
    return (user.email_key or "").encode("utf-8", "surrogatepass")


def _find(session: Session, vault: Vault, now: datetime, link: Link, find_guard: FindGuard) -> tuple[Claim, Guard]:
    found = single_use.find(session, vault, now, link.purpose, link.token)
    return found, find_guard(session, found)


def _record_refusal(
    session: Session, origin: Origin, now: datetime, link: Link, *, reason: str, subject_id: uuid.UUID | None = None
) -> None:
    audit.record(session, origin, link.event, now, outcome="refused", subject_id=subject_id, reason=reason)
