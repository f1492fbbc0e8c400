"""Tries at an account's passwords and codes, counted together wherever they are made (NIST SP 800-63B-4 §3.2.2).

Each is counted before it is verified, so that those at the same time count too.
"""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app import audit
from app.audit import Origin
from app.crypto import Vault
from app.limits import account_key
from app.models import User
from app.problems import RateLimited

if TYPE_CHECKING:
    from app.runtime import Runtime


async def count(runtime: "Runtime", origin: Origin, user_id: uuid.UUID) -> str:
    """One at a user; the key by which to `forget` them. Raises `RateLimited`."""
    key = await runtime.database.read(key_of, runtime.vault, user_id)
    await _hit(runtime, origin, key, User.id == user_id)
    return key


async def count_at_sign_in(runtime: "Runtime", origin: Origin, *, email: str, email_key: str) -> str:
    """One at the user of an address. It counts the same where it is nobody's, or none at all: then its key is empty."""
    key = account_key(runtime.vault, email_key or email)
    await _hit(runtime, origin, key, User.email_key == email_key)
    return key


async def forget(runtime: "Runtime", key: str) -> None:
    """Somebody was seen to be the owner: what was counted was no attack."""
    await runtime.limiter.clear("guess", key)


async def take_back(runtime: "Runtime", key: str) -> None:
    """Nobody could say whether the last one was right."""
    await runtime.limiter.take_back("guess", key)


def key_of(session: Session, vault: Vault, user_id: uuid.UUID) -> str:
    email_key = session.scalar(select(User.email_key).where(User.id == user_id))
    return account_key(vault, email_key or str(user_id))


async def _hit(runtime: "Runtime", origin: Origin, key: str, whose: ColumnElement[bool]) -> None:
    try:
        await runtime.limiter.hit("guess", key)
    except RateLimited:
        await runtime.database.write(_record_refusal, origin, runtime.clock.now(), whose)
        raise


def _record_refusal(session: Session, origin: Origin, now: datetime, whose: ColumnElement[bool]) -> None:
    subject_id = session.scalar(select(User.id).where(whose))
    refusal = audit.Refusal(event="access.refused", reason="too_many_guesses", subject_id=subject_id)
    audit.record_refusal(session, origin, now, refusal)
