"""Signing in with e-mail address and password."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit
from app.accounts import addresses
from app.audit import Origin
from app.auth import sessions
from app.auth.sessions import Grant
from app.models import User
from app.problems import InvalidLogin

if TYPE_CHECKING:
    from app.runtime import Runtime


@dataclass(frozen=True)
class Account:
    user_id: uuid.UUID
    password_hash: str


async def log_in(runtime: "Runtime", origin: Origin, *, email: str, password: str, device_name: str | None) -> Grant:
    """A new session. Raises `InvalidLogin`, `AccountDisabled`, `Overloaded`.

    An unknown address takes the same steps as a known one: a look-up, a hash, an audit row. No database connection is
    held while the hash is computed.
    """
    address = addresses.find(email)
    account = await runtime.database.read(find_account, address.key if address else "")
    correct, new_hash = await runtime.hasher.verify(password, account.password_hash if account else None)
    now = runtime.clock.now()
    if account is None or not correct:
        await runtime.database.write(_record_refusal, origin, now, account.user_id if account else None)
        raise InvalidLogin
    return await runtime.database.write(
        sessions.start,
        runtime.vault,
        origin,
        now,
        user_id=account.user_id,
        verified_hash=account.password_hash,
        new_hash=new_hash,
        device_name=device_name,
    )


def find_account(session: Session, email_key: str) -> Account | None:
    row = session.execute(select(User.id, User.password_hash).where(User.email_key == email_key)).one_or_none()
    return Account(row.id, row.password_hash) if row else None


def _record_refusal(session: Session, origin: Origin, now: datetime, user_id: uuid.UUID | None) -> None:
    audit.record(session, origin, "session.started", now, outcome="refused", subject_id=user_id, reason="invalid_login")
