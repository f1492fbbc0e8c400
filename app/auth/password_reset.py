"""Resetting the password by a link in the account's mail (ASVS 6.4.3). It works once, within ten minutes.

A reset does not sign the user in.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts import guesses, links
from app.accounts.links import Link
from app.accounts.passwords import Hasher
from app.auth import endings
from app.auth.password_change import hash_new, replace_hash
from app.crypto.vault import Vault
from app.mail import outbox
from app.mail.bounds import Kind
from app.platform.limits import Counter, account_key
from app.platform.problems import InvalidSingleUseToken
from app.platform.process import Platform
from app.records import addresses, audit, single_use
from app.records.audit import Origin
from app.records.models import Identity, Passkey, User

TTL = timedelta(minutes=10)


async def request(platform: Platform, origin: Origin, *, email: str) -> None:
    """Sends a link to the account's own address. Without an active account, does the same without the mail.

    Raises `InvalidRequest`, `RateLimited`.
    """
    address = addresses.parse(email)
    await platform.limiter.hit("reset", account_key(platform.vault, address.key))
    await platform.database.write(_request, platform.vault, origin, platform.clock.now(), email_key=address.key)


async def confirm(platform: Platform, hasher: Hasher, origin: Origin, *, token: str, new_password: str) -> None:
    """Sets the password and ends all sessions. A second factor stays, and the next sign-in asks for it.

    The counter of password guesses is cleared, so that strangers cannot keep the owner from signing in. Guesses at
    codes still count, because a thief who reads the mail must not get endless tries. A password that is too weak does
    not use the token up. Raises `InvalidSingleUseToken`, `WeakPassword`, `Overloaded`.
    """
    user = await platform.database.write(_find, platform.vault, origin, platform.clock.now(), token=token)
    new_hash = await hash_new(platform, hasher, origin, user, new_password)
    guessed = await platform.database.write(
        _confirm, platform.vault, origin, platform.clock.now(), token=token, new_hash=new_hash
    )
    await guesses.forget(platform, guessed)


def _request(session: Session, vault: Vault, origin: Origin, now: datetime, *, email_key: str) -> None:
    user = session.scalars(select(User).where(User.email_key == email_key).with_for_update()).one_or_none()
    able = user if user is not None and user.status == "active" else None
    send_link(session, vault, now, able)
    audit.record(
        session,
        origin,
        "password.reset_requested",
        now,
        outcome="done" if able else "refused",
        subject_id=user.id if user else None,
        reason=None if able else "no_active_account",
    )


def send_link(
    session: Session,
    vault: Vault,
    now: datetime,
    user: User | None,
    *,
    kind: Kind = "reset_password",
    ttl: timedelta = TTL,
) -> None:
    """Sends a link to the address of a locked user, and invalidates earlier links.

    Without a user it runs the same statements, and the token opens nothing.
    """
    user_id = user.id if user else None
    single_use.withdraw(session, now, "password_reset", user_id=user_id)
    token = single_use.issue(session, vault, now, "password_reset", ttl=ttl, user_id=user_id)
    outbox.put(session, vault, now, kind, about=user_id, recipient=user.email if user else None, token=token)


def _find(session: Session, vault: Vault, origin: Origin, now: datetime, *, token: str) -> User:
    try:
        user_id = single_use.find(session, vault, now, "password_reset", token).user_id
    except InvalidSingleUseToken:
        user_id = None
    user = session.get(User, user_id) if user_id else None
    if user is None:
        audit.record(session, origin, "password.reset", now, outcome="refused", reason="invalid_token")
        raise InvalidSingleUseToken(keeps_writes=True)
    return user


def _confirm(session: Session, vault: Vault, origin: Origin, now: datetime, *, token: str, new_hash: str) -> Counter:
    """Sets the password. Returns the counter of guesses at it."""
    user, _ = links.claim(session, vault, origin, now, Link("password_reset", token, "password.reset"))
    if user.email_verified_at is None or user.confirmed_elsewhere:
        # The address was unverified, or somebody may have been tricked into confirming it. So other ways to sign in may
        # belong to a stranger who registered the address first.
        for way_in in (Passkey, Identity):
            session.execute(delete(way_in).where(way_in.user_id == user.id))
        user.email_verified_at = user.email_verified_at or now
        user.confirmed_elsewhere = False
    replace_hash(session, vault, now, user, new_hash)
    endings.sign_out(session, origin, now, user_id=user.id, actor_id=user.id, reason="password_reset")
    audit.record(session, origin, "password.reset", now, actor_id=user.id, subject_id=user.id)
    return guesses.passwords_of(vault, user)
