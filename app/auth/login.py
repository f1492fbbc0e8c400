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
from app.auth import mfa
from app.auth.mfa import Challenge
from app.auth.sessions import Grant
from app.crypto import Vault
from app.limits import account_key
from app.models import User
from app.problems import EmailNotVerified, InvalidLogin

if TYPE_CHECKING:
    from app.runtime import Runtime


@dataclass(frozen=True)
class Account:
    user_id: uuid.UUID
    password_hash: str | None


async def log_in(
    runtime: "Runtime", origin: Origin, *, email: str, password: str, device_name: str | None
) -> Grant | Challenge:
    """A new session, or the question for a second factor.

    Raises `InvalidLogin`, `AccountDisabled`, `EmailNotVerified`, `RateLimited`, `Overloaded`.

    An unknown address takes the same steps as a known one: a look-up, a hash, an audit row. No database connection is
    held while the hash is computed.
    """
    address = addresses.find(email)
    account = await runtime.database.read(find_account, address.key if address else "")
    guessed = account_key(runtime.vault, address.key if address else email)
    await runtime.limiter.hit("guess", guessed)
    correct, new_hash = await runtime.hasher.verify(password, account.password_hash if account else None)
    now = runtime.clock.now()
    if account is None or not correct:
        await runtime.database.write(_record_refusal, origin, now, account.user_id if account else None)
        raise InvalidLogin
    outcome = await runtime.database.write(
        _start,
        runtime.vault,
        origin,
        now,
        account=account,
        new_hash=new_hash,
        verified_only=runtime.settings.verifies_email,
        device_name=device_name,
    )
    if isinstance(outcome, Grant):
        # Not by a password that leaves a second factor to be shown: it would give whoever has it endless codes to try.
        await runtime.limiter.clear("guess", guessed)
    return outcome


def _start(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    account: Account,
    new_hash: str | None,
    verified_only: bool,
    device_name: str | None,
) -> Grant | Challenge:
    user = session.get_one(User, account.user_id, with_for_update=True)
    if user.password_hash != account.password_hash:
        raise InvalidLogin  # it was changed while this one was being verified
    if verified_only and user.email_verified_at is None:
        audit.record(
            session, origin, "session.started", now, outcome="refused", subject_id=user.id, reason="email_not_verified"
        )
        raise EmailNotVerified
    if new_hash is not None:
        user.password_hash = new_hash
    return mfa.admit(session, vault, origin, now, user=user, method="password", verified=False, device_name=device_name)


def find_account(session: Session, email_key: str) -> Account | None:
    row = session.execute(select(User.id, User.password_hash).where(User.email_key == email_key)).one_or_none()
    return Account(row.id, row.password_hash) if row else None


def _record_refusal(session: Session, origin: Origin, now: datetime, user_id: uuid.UUID | None) -> None:
    audit.record(session, origin, "session.started", now, outcome="refused", subject_id=user_id, reason="invalid_login")
