"""Tokens that work once: links in mails, sign-ins that wait for a second factor, challenges, nonces.

Only a keyed hash is stored. One atomic statement claims a token, so only one of several concurrent requests gets it.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from app.crypto import kinds
from app.crypto.encoding import b64url
from app.crypto.vault import Vault
from app.platform.problems import InvalidSingleUseToken
from app.records.models import SingleUseToken

Purpose = Literal[
    "email_verification",
    "email_change",
    "password_reset",
    "guest_upgrade",
    "confirmed_link",
    "mfa",
    "passkey_registration",
    "passkey_sign_in",
    "oidc_nonce",
]
PREFIX = "tvs_"
"""Lets secret scanners and our own log redaction recognize a leaked token."""
NOBODY = uuid.UUID(int=0)


@dataclass(frozen=True)
class Claim:
    """What was stored with the token."""

    user_id: uuid.UUID | None
    data: Mapping[str, Any]
    created_at: datetime


def issue(
    session: Session,
    vault: Vault,
    now: datetime,
    purpose: Purpose,
    *,
    ttl: timedelta,
    user_id: uuid.UUID | None = None,
    data: Mapping[str, Any] | None = None,
    returns_as: Callable[[str], str] = str,
) -> str:
    """A new token of 256 bits. `data` is what its use needs; it holds no secret in plain text.

    `returns_as` turns the token into the text that `claim` will get in its place, such as a digest of the token.
    """
    token = PREFIX + b64url(secrets.token_bytes(32))
    store(session, vault, now, purpose, returns_as(token), ttl=ttl, user_id=user_id, data=data)
    return token


def store(
    session: Session,
    vault: Vault,
    now: datetime,
    purpose: Purpose,
    token: str,
    *,
    ttl: timedelta,
    user_id: uuid.UUID | None,
    data: Mapping[str, Any] | None,
) -> None:
    """Keeps a token that exists already, for another purpose."""
    session.execute(
        insert(SingleUseToken).values(
            token_hash=vault.digest(kinds.SINGLE_USE_TOKEN.of(purpose), _bytes(token)),
            purpose=purpose,
            user_id=user_id,
            data=dict(data or {}),
            attempts=0,
            created_at=now,
            expires_at=now + ttl,
        )
    )


def claim(session: Session, vault: Vault, now: datetime, purpose: Purpose, token: str) -> Claim:
    """Uses the token up and returns what was stored with it. Raises `InvalidSingleUseToken`."""
    row = session.execute(
        update(SingleUseToken)
        .where(*_usable(vault, purpose, token, now))
        .values(used_at=now)
        .returning(SingleUseToken.user_id, SingleUseToken.data, SingleUseToken.created_at)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return _claim(row)


def attempt(session: Session, vault: Vault, now: datetime, purpose: Purpose, token: str, *, most: int) -> Claim:
    """Counts an attempt. The token stays usable. Raises `InvalidSingleUseToken`, also after `most` attempts."""
    row = session.execute(
        update(SingleUseToken)
        .where(*_usable(vault, purpose, token, now), SingleUseToken.attempts < most)
        .values(attempts=SingleUseToken.attempts + 1)
        .returning(SingleUseToken.user_id, SingleUseToken.data, SingleUseToken.created_at)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return _claim(row)


def find(session: Session, vault: Vault, now: datetime, purpose: Purpose, token: str) -> Claim:
    """What was stored with a usable token. The token stays usable. Raises `InvalidSingleUseToken`."""
    columns = select(SingleUseToken.user_id, SingleUseToken.data, SingleUseToken.created_at)
    return _claim(session.execute(columns.where(*_usable(vault, purpose, token, now))).one_or_none())


def withdraw(session: Session, now: datetime, *purposes: Purpose, user_id: uuid.UUID | None) -> None:
    """Invalidates all tokens of these purposes that the user was given, and deletes the data stored with them.

    `user_id` is None for an account that does not exist. Then it looks for tokens of `NOBODY`, who has none. It leaves
    tokens without a user alone: they belong to everybody, and concurrent requests would wait for each other's rows.
    """
    session.execute(
        update(SingleUseToken)
        .where(SingleUseToken.user_id == (user_id or NOBODY), SingleUseToken.purpose.in_(purposes))
        .values(used_at=func.coalesce(SingleUseToken.used_at, now), data={})
        .execution_options(synchronize_session=False)
    )


def _usable(vault: Vault, purpose: Purpose, token: str, now: datetime) -> tuple[Any, ...]:
    return (
        SingleUseToken.token_hash.in_(vault.digests(kinds.SINGLE_USE_TOKEN.of(purpose), _bytes(token))),
        SingleUseToken.used_at.is_(None),
        SingleUseToken.expires_at > now,
    )


def _claim(row: Any) -> Claim:
    if row is None:
        raise InvalidSingleUseToken
    return Claim(row.user_id, row.data, row.created_at)


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")
