"""Creates accounts. An address, however spelt, has one account. Its id, and so its prefix, is random and not reused."""

import uuid
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import verification
from app.accounts.passwords import Hasher
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.db import insert_if_absent
from app.platform.limits import account_key, address_key
from app.platform.problems import EmailTaken
from app.platform.process import Platform
from app.records import addresses, audit
from app.records.addresses import Address
from app.records.audit import Origin
from app.records.models import User

Status = Literal["active", "verification_required"]
GUEST_REVIEWED_AFTER = timedelta(days=120)
"""The earliest time at which a guest can be lost: idle for 30 days and kept for another 90."""


async def register(
    platform: Platform, hasher: Hasher, origin: Origin, *, email: str, password: str, display_name: str | None
) -> Status:
    """Registers an account. Returns whether it is active, or its address must be verified first.

    Where addresses are verified, a taken address gets the same answer after the same work, and its owner gets a mail.
    Otherwise it raises `EmailTaken`. Also raises `InvalidRequest`, `WeakPassword`, `RateLimited`, `Overloaded`.
    """
    address = addresses.parse(email)
    verifies = platform.settings.verifies_email
    if verifies:
        await platform.limiter.hit("letter", account_key(platform.vault, address.key))
    password_hash = await hasher.hash(
        password,
        by=address_key(origin.address),
        min_length=platform.settings.password_min_length,
        context=(address.text, display_name or ""),
    )
    now = platform.clock.now()
    if verifies:
        await platform.database.write(
            _register_to_verify,
            platform.vault,
            origin,
            now,
            address=address,
            password_hash=password_hash,
            display_name=display_name,
        )
        return "verification_required"
    await platform.database.write(
        add_user, origin, now, address=address, password_hash=password_hash, display_name=display_name
    )
    return "active"


def add_user(
    session: Session,
    origin: Origin,
    now: datetime,
    *,
    address: Address,
    password_hash: str,
    display_name: str | None = None,
    role: str = "user",
    verified: bool = False,
) -> uuid.UUID:
    """Adds the account and its audit row. Raises `EmailTaken`."""
    user_id = add_account(
        session,
        now,
        address=address,
        password_hash=password_hash,
        display_name=display_name,
        role=role,
        verified=verified,
    )
    if user_id is None:
        audit.record(session, origin, "user.registered", now, outcome="refused", reason="email_taken")
        raise EmailTaken
    event: audit.Event = "user.created" if origin is audit.COMMAND_LINE else "user.registered"
    audit.record(session, origin, event, now, actor_id=user_id, subject_id=user_id, role=role)
    return user_id


def _register_to_verify(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    address: Address,
    password_hash: str,
    display_name: str | None,
) -> None:
    """Adds an account, or repeats the registration of an unverified one, or notifies the owner of a taken address.

    Mail goes to the address as stored, never as just typed: another spelling may be another mailbox.
    """
    add_account(session, now, address=address, password_hash=password_hash, display_name=display_name)
    user = session.scalars(select(User).where(User.email_key == address.key).with_for_update()).one_or_none()
    if user is not None and verification.is_open(session, user):
        user.password_hash, user.display_name = password_hash, display_name
        registered = {"password_hash": password_hash, "display_name": display_name}
        verification.send_link(session, vault, now, user, registered)
        audit.record(session, origin, "user.registered", now, actor_id=user.id, subject_id=user.id, role=user.role)
        return
    notify_owner(session, vault, now, user)
    audit.record(
        session,
        origin,
        "user.registered",
        now,
        outcome="refused",
        subject_id=user.id if user else None,
        reason="email_taken",
    )


def notify_owner(session: Session, vault: Vault, now: datetime, owner: User | None) -> None:
    """Tells the owner of an address that somebody wanted it. This takes as much work as sending a link."""
    verification.spend_a_link(session, vault, now)
    reachable = owner if owner is not None and owner.status == "active" else None
    outbox.put(
        session,
        vault,
        now,
        "address_taken",
        about=reachable.id if reachable else None,
        recipient=reachable.email if reachable else None,
    )


def add_account(
    session: Session,
    now: datetime,
    *,
    address: Address,
    password_hash: str | None,
    display_name: str | None,
    role: str = "user",
    verified: bool = False,
) -> uuid.UUID | None:
    """Adds an account. Returns its id, or None if the address already has an account."""
    user_id = uuid.uuid4()
    added = insert_if_absent(
        session,
        User,
        {
            "id": user_id,
            "email": address.text,
            "email_key": address.key,
            "email_verified_at": now if verified else None,
            "display_name": display_name,
            "password_hash": password_hash,
            "status": "active",
            "role": role,
            "created_at": now,
        },
    )
    return user_id if added else None


def add_without_password(
    session: Session,
    now: datetime,
    *,
    user_id: uuid.UUID,
    display_name: str | None = None,
    guest: bool = False,
) -> None:
    """Adds the account of a guest or of an outside identity. It has no address until `give_address`."""
    session.execute(
        insert(User).values(
            id=user_id,
            display_name=display_name,
            guest=guest,
            guest_review_at=now + GUEST_REVIEWED_AFTER,
            status="active",
            role="user",
            created_at=now,
        )
    )


def give_address(session: Session, user: User, address: Address, *, verified_at: datetime | None) -> bool:
    """Gives an address to an account that this transaction has locked. Returns False if another account has it."""
    try:
        with session.begin_nested():
            user.email, user.email_key, user.email_verified_at = address.text, address.key, verified_at
            session.flush()
    except IntegrityError:
        session.refresh(user)
        return False
    return True
