"""Making accounts. One address, however spelt, is one account; its id, so its prefix, is random and never reused."""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

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
