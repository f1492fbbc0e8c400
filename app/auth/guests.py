"""Guests: accounts that a device makes for itself. Until the upgrade only its refresh token opens the account.

Upgrading changes neither id nor prefix, so no object moves. Upgrades by passkey or outside identity are in those
modules. The link in an upgrade's mail is confirmed in the guest's own session, or with the password that the guest
chose.
"""

import uuid
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts import links, registration
from app.accounts.links import Guard, Link
from app.accounts.passwords import Hasher
from app.auth import sessions
from app.auth.rotation import SessionTokens
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.limits import account_key, address_key
from app.platform.problems import AlreadyRegistered, EmailTaken, InvalidSingleUseToken
from app.platform.process import Platform
from app.records import addresses, audit, single_use, users
from app.records.actor import Actor
from app.records.addresses import Address
from app.records.audit import Origin
from app.records.models import User
from app.records.single_use import Claim

VERIFICATION_TTL = timedelta(hours=24)
Upgraded = Literal["active", "verification_required"]


def start(session: Session, vault: Vault, origin: Origin, now: datetime, *, device_name: str | None) -> SessionTokens:
    """Creates a guest and signs them in on the device that asks."""
    user_id = uuid.uuid4()
    registration.add_without_password(session, now, user_id=user_id, guest=True)
    audit.record(session, origin, "guest.created", now, actor_id=user_id, subject_id=user_id)
    return sessions.start(
        session,
        vault,
        origin,
        now,
        user=session.get_one(User, user_id),
        method="guest",
        mfa=False,
        device_name=device_name,
    )


async def upgrade(
    platform: Platform, hasher: Hasher, origin: Origin, actor: Actor, *, email: str, password: str
) -> Upgraded:
    """Gives the guest an address and a password: at once or, where addresses are verified, by a link in a mail.

    With a link, a taken address gets the same answer as a free one, and its owner is told by mail. Raises
    `AlreadyRegistered`, `InvalidRequest`, `WeakPassword`, `EmailTaken`, `RateLimited`, `Overloaded`.
    """
    if not actor.guest:
        raise AlreadyRegistered
    address = addresses.parse(email)
    if platform.settings.verifies_email:
        await platform.limiter.hit("letter", account_key(platform.vault, address.key))
    user = await platform.database.read(users.get_user, actor.user_id)
    password_hash = await hasher.hash(
        password,
        by=address_key(origin.address),
        min_length=platform.settings.password_min_length,
        context=(address.text, user.display_name or ""),
    )
    now = platform.clock.now()
    if platform.settings.verifies_email:
        await platform.database.write(
            _ask, platform.vault, origin, now, actor=actor, address=address, password_hash=password_hash
        )
        return "verification_required"
    await platform.database.write(
        _upgrade_at_once, origin, now, actor=actor, address=address, password_hash=password_hash
    )
    return "active"


async def owns(platform: Platform, token: str) -> bool:
    """Whether the token is of a link that upgrades a guest."""
    try:
        await platform.database.read(single_use.find, platform.vault, platform.clock.now(), "guest_upgrade", token)
    except InvalidSingleUseToken:
        return False
    return True


async def confirm(
    platform: Platform, hasher: Hasher, origin: Origin, actor: Actor | None, *, token: str, password: str | None
) -> None:
    """Upgrades the guest of the token. The caller is the guest, or knows the new password.

    Raises `EmailTaken` and what `links.verify_opener` raises.
    """
    link = Link("guest_upgrade", token, "guest.upgraded")
    elsewhere = await links.verify_opener(
        platform, hasher, origin, actor, link, password=password, find_guard=_new_password
    )
    await platform.database.write(
        _confirm, platform.vault, origin, platform.clock.now(), link=link, elsewhere=elsewhere
    )


def _new_password(_session: Session, claim: Claim) -> Guard:
    return Guard(claim.data["password_hash"])


def _confirm(session: Session, vault: Vault, origin: Origin, now: datetime, *, link: Link, elsewhere: bool) -> None:
    """`elsewhere`: confirmed with the password, not in the guest's own session."""
    user, claim = links.claim(session, vault, origin, now, link)
    if not user.guest:
        raise InvalidSingleUseToken
    _give(
        session,
        origin,
        now,
        user=user,
        address=Address(claim.data["email"], claim.data["email_key"]),
        password_hash=claim.data["password_hash"],
        verified_at=now,
    )
    links.remember(session, vault, now, link.token, user)
    user.confirmed_elsewhere = elsewhere
    audit.record(session, origin, "email.verified", now, actor_id=user.id, subject_id=user.id)


def _upgrade_at_once(
    session: Session, origin: Origin, now: datetime, *, actor: Actor, address: Address, password_hash: str
) -> None:
    user = _locked_guest(session, actor)
    _give(session, origin, now, user=user, address=address, password_hash=password_hash, verified_at=None)


def _ask(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    actor: Actor,
    address: Address,
    password_hash: str,
) -> None:
    """Mails the address: a link that finishes the upgrade or, if the address is taken, a notice to its owner."""
    user = _locked_guest(session, actor)
    owner = session.scalar(select(User).where(User.email_key == address.key))
    single_use.withdraw(session, now, "guest_upgrade", user_id=user.id)
    if owner is None:
        data = {"email": address.text, "email_key": address.key, "password_hash": password_hash}
        token = single_use.issue(session, vault, now, "guest_upgrade", ttl=VERIFICATION_TTL, user_id=user.id, data=data)
        outbox.put(session, vault, now, "guest_upgrade", about=user.id, recipient=address.text, token=token)
    else:
        outbox.tell(session, vault, now, "address_taken", owner)
    audit.record(
        session,
        origin,
        "email.verification_requested",
        now,
        actor_id=user.id,
        subject_id=user.id,
        session_id=actor.session_id,
    )


def _locked_guest(session: Session, actor: Actor) -> User:
    user = users.lock_user(session, actor.user_id)
    if not user.guest:
        raise AlreadyRegistered
    return user


def _give(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    user: User,
    address: Address,
    password_hash: str,
    verified_at: datetime | None,
) -> None:
    if not registration.give_address(session, user, address, verified_at=verified_at):
        audit.record(
            session, origin, "guest.upgraded", now, outcome="refused", subject_id=user.id, reason="email_taken"
        )
        raise EmailTaken
    user.password_hash, user.guest = password_hash, False
    audit.record(session, origin, "guest.upgraded", now, actor_id=user.id, subject_id=user.id, method="password")
