"""Refresh tokens: each works once. A second use ends the session, unless it retries a lost answer."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from app.auth import endings, last_seen
from app.crypto import kinds
from app.crypto.encoding import b64url
from app.crypto.vault import Vault
from app.platform.problems import (
    AccountDisabled,
    EmailNotVerified,
    InvalidRefreshToken,
    RefreshTokenReused,
)
from app.records import audit
from app.records.audit import Origin, Refusal
from app.records.models import DeviceSession, RefreshToken, User

REFRESH_IDLE_TTL = timedelta(days=30)
"""A device that is not used for this long must sign in again."""


PREFIX = "tvr_"
"""Lets secret scanners and our own log redaction recognize a leaked token."""


# They are built once: building them for each refresh would take as long as the database does.
_FIND = (
    select(
        RefreshToken.token_hash,
        RefreshToken.generation,
        RefreshToken.expires_at.label("token_expires_at"),
        DeviceSession.id,
        DeviceSession.user_id,
        DeviceSession.authenticated_at,
        DeviceSession.expires_at,
        DeviceSession.ended_at,
        DeviceSession.session_epoch,
        User.status,
        User.email,
        User.email_verified_at,
        User.session_epoch.label("epoch"),
        User.last_seen_at,
    )
    .join(DeviceSession, DeviceSession.id == RefreshToken.session_id)
    .join(User, User.id == DeviceSession.user_id)
    .where(RefreshToken.token_hash.in_(bindparam("hashes", expanding=True)))
    # After a lost step-up two tokens work. The later request must see what the earlier one inserts.
    .with_for_update(of=DeviceSession)
)
_CLAIM = (
    update(RefreshToken)
    .where(
        RefreshToken.session_id == bindparam("session"),
        RefreshToken.used_at.is_(None),
        RefreshToken.generation <= bindparam("newest"),
    )
    .values(used_at=bindparam("now"))
    .returning(RefreshToken.token_hash)
)
_NOTE_USE = (
    update(DeviceSession)
    .where(DeviceSession.id == bindparam("session"))
    .values(last_used_at=bindparam("now"), last_address=bindparam("address"))
)
_ADD = insert(RefreshToken)


@dataclass(frozen=True)
class SessionTokens:
    """What a device gets: its user and session, and the refresh token to continue with."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    authenticated_at: datetime
    refresh_token: str
    refresh_expires_at: datetime


class Family(Protocol):
    """A session, to which a refresh token and its successors belong: its row, or what `_FIND` finds of it."""

    id: Any
    user_id: Any
    authenticated_at: Any
    expires_at: Any


def refresh(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    refresh_token: str,
    grace: timedelta,
    verified_only: bool,
) -> SessionTokens:
    """Rotates: claims the token by one statement that only one request can win, and returns its successor.

    Within the `grace` an app whose answer was lost gets the same successor again, unless it was used. The statement
    also retires older unused tokens, which a step-up with a lost answer leaves. So a session continues with one token.
    `verified_only`: refuses a user whose address is unverified, perhaps from before that was required. Raises
    `InvalidRefreshToken`, `RefreshTokenReused` (the session has ended), `AccountDisabled`, `EmailNotVerified`.
    """
    connection = session.connection()
    found = connection.execute(_FIND, {"hashes": hashes_of(vault, refresh_token)}).one_or_none()
    if found is None:
        raise InvalidRefreshToken
    epoch = found.epoch
    if found.session_epoch != epoch:
        # The sign-out that raised it may have kept this session while we waited for its row. So read the user again.
        epoch = session.scalars(select(User.session_epoch).where(User.id == found.user_id)).one()
    ended = found.ended_at is not None or found.session_epoch != epoch
    if ended or now >= found.expires_at or now >= found.token_expires_at or found.status == "erased":
        raise InvalidRefreshToken
    if found.status != "active":
        audit.record_refusal(session, origin, now, _refreshing(found, "disabled"))
        raise AccountDisabled
    if verified_only and found.email is not None and found.email_verified_at is None:
        audit.record_refusal(session, origin, now, _refreshing(found, "email_not_verified"))
        raise EmailNotVerified
    successors = _successors(vault, found.id, found.generation + 1, refresh_token)
    claim = {"session": found.id, "newest": found.generation, "now": now}
    if found.token_hash not in connection.execute(_CLAIM, claim).scalars().all():
        return _repeat(session, vault, origin, now, found=found, successors=successors, grace=grace)
    connection.execute(_NOTE_USE, {"session": found.id, "now": now, "address": origin.address})
    last_seen.note(session, now, user_id=found.user_id, known=found.last_seen_at)
    return issue(session, vault, now, found, successors[0], generation=found.generation + 1)


def _refreshing(family: Family, reason: str) -> Refusal:
    return Refusal(event="session.refreshed", reason=reason, subject_id=family.user_id, session_id=family.id)


def _repeat(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    found: Any,
    successors: Sequence[str],
    grace: timedelta,
) -> SessionTokens:
    """Handles a token that was used before: a retry after a lost answer, or a theft."""
    used_at = session.scalar(select(RefreshToken.used_at).where(RefreshToken.token_hash == found.token_hash))
    # The replica that used it may write with another secret key than this one.
    by_hash = {hashed: successor for successor in successors for hashed in hashes_of(vault, successor)}
    heir = session.scalar(select(RefreshToken).where(RefreshToken.token_hash.in_(by_hash)))
    if used_at is not None and now - used_at <= grace and heir is not None and heir.used_at is None:
        successor = by_hash[heir.token_hash]
        return SessionTokens(found.user_id, found.id, found.authenticated_at, successor, heir.expires_at)
    endings.end(session, origin, now, family_id=found.id, actor_id=None, reason="reuse")
    audit.record(
        session,
        origin,
        "session.reuse_detected",
        now,
        outcome="refused",
        subject_id=found.user_id,
        session_id=found.id,
        generation=found.generation,
    )
    raise RefreshTokenReused


def issue(
    session: Session, vault: Vault, now: datetime, family: Family, refresh_token: str, *, generation: int
) -> SessionTokens:
    expires_at = min(now + REFRESH_IDLE_TTL, family.expires_at)
    token = {
        "token_hash": vault.digest(kinds.REFRESH_TOKEN, _bytes(refresh_token)),
        "session_id": family.id,
        "generation": generation,
        "issued_at": now,
        "expires_at": expires_at,
    }
    session.connection().execute(_ADD, token)
    return SessionTokens(family.user_id, family.id, family.authenticated_at, refresh_token, expires_at)


def hashes_of(vault: Vault, refresh_token: str) -> tuple[bytes, ...]:
    """What it may be stored as."""
    return vault.digests(kinds.REFRESH_TOKEN, _bytes(refresh_token))


def _successors(vault: Vault, family_id: uuid.UUID, generation: int, parent: str) -> Sequence[str]:
    """Those by all secret keys, first the one that this replica writes with."""
    parts = (family_id.bytes, generation.to_bytes(8, "big"), _bytes(parent))
    mine, *others = dict.fromkeys(
        (vault.digest(kinds.REFRESH_SUCCESSOR, *parts), *vault.digests(kinds.REFRESH_SUCCESSOR, *parts))
    )
    return [PREFIX + b64url(digest) for digest in (mine, *others)]


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")
