"""Making accounts. One address, however spelt, is one account; its id, so its prefix, is random and never reused."""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import audit
from app.accounts import addresses
from app.accounts.addresses import Address
from app.audit import Origin
from app.db import insert_if_absent
from app.models import User
from app.problems import EmailTaken

if TYPE_CHECKING:
    from app.runtime import Runtime


async def register(
    runtime: "Runtime", origin: Origin, *, email: str, password: str, display_name: str | None
) -> uuid.UUID:
    """The id of the new account. Raises `InvalidRequest`, `WeakPassword`, `EmailTaken`, `Overloaded`."""
    address = addresses.parse(email)
    password_hash = await runtime.hasher.hash(
        password, min_length=runtime.settings.password_min_length, context=(address.text, display_name or "")
    )
    return await runtime.database.write(
        add_user, origin, runtime.clock.now(), address=address, password_hash=password_hash, display_name=display_name
    )


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
    if not added:
        audit.record(session, origin, "user.registered", now, outcome="refused", reason="email_taken")
        raise EmailTaken
    event: audit.Event = "user.created" if origin is audit.COMMAND_LINE else "user.registered"
    audit.record(session, origin, event, now, actor_id=user_id, subject_id=user_id, role=role)
    return user_id


def add_without_password(
    session: Session,
    now: datetime,
    *,
    user_id: uuid.UUID,
    verified: Address | None = None,
    display_name: str | None = None,
    guest: bool = False,
) -> bool:
    """Adds the account of a guest, or of who signs in elsewhere. False where the address is another account's."""
    return insert_if_absent(
        session,
        User,
        {
            "id": user_id,
            "email": verified.text if verified else None,
            "email_key": verified.key if verified else None,
            "email_verified_at": now if verified else None,
            "display_name": display_name,
            "password_hash": None,
            "guest": guest,
            "status": "active",
            "role": "user",
            "created_at": now,
        },
    )


def give_address(session: Session, user: User, address: Address, *, verified_at: datetime | None) -> bool:
    """Gives an address to an account that this transaction has locked. False where it is another account's."""
    try:
        with session.begin_nested():
            user.email, user.email_key, user.email_verified_at = address.text, address.key, verified_at
            session.flush()
    except IntegrityError:
        session.refresh(user)
        return False
    return True
