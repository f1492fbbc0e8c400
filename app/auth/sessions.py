"""Sessions, one for each signed-in device, and their rotating refresh tokens (RFC 9700 §2.2.2).

A refresh token works once. Its successor is an HMAC over session, generation and parent. So an app whose answer was
lost can ask again within `TOKENVEND_REFRESH_GRACE` and gets the same successor, but nobody can compute it from the
database. A token that comes back later, or after its successor was used, was copied: the session ends.
"""

import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import ARRAY, Text, Uuid, any_, bindparam, cast, func, select
from sqlalchemy.orm import Session

from app.auth import endings
from app.auth.rotation import PREFIX, REFRESH_IDLE_TTL, SessionTokens, hashes_of, issue
from app.crypto.encoding import b64url
from app.crypto.vault import Vault
from app.platform.db import Batch, Database
from app.platform.problems import (
    AccountDisabled,
    InvalidLogin,
)
from app.records import audit, listing
from app.records.audit import Origin
from app.records.models import EVERYONE, DeviceSession, RefreshToken, Revocation, User

SESSION_TTL = timedelta(days=365)
"""The longest life of a session, however often it is used (ASVS 7.3.2)."""
Method = Literal["password", "passkey", "oidc", "guest"]

_NOT_BEFORE = (
    select(func.max(Revocation.not_before))
    .where(Revocation.subject_id.in_((DeviceSession.id, User.id, EVERYONE)))
    .correlate(DeviceSession, User)
    .scalar_subquery()
)
_STATES = select(
    DeviceSession.id,
    DeviceSession.user_id,
    User.status,
    User.role,
    DeviceSession.authenticated_at,
    DeviceSession.expires_at,
    endings.ENDED,
    DeviceSession.mfa_at,
    User.guest,
    User.created_at,
    User.quota_bytes,
    _NOT_BEFORE,
).join(User, User.id == DeviceSession.user_id)
_STATES_IN = _STATES.where(DeviceSession.id.in_(bindparam("family_ids", expanding=True)))
# PostgreSQL gets all ids in one text: one statement to prepare, and one parameter to convert.
_STATES_ANY = _STATES.where(
    DeviceSession.id == any_(cast(func.string_to_array(bindparam("family_ids", type_=Text), ","), ARRAY(Uuid)))
)


class SessionState(NamedTuple):
    """What decides on every request whether a session may go on."""

    user_id: uuid.UUID
    status: str
    role: str
    authenticated_at: datetime
    expires_at: datetime
    ended: bool
    mfa: bool
    guest: bool
    created_at: datetime
    """When the account was created."""
    quota_bytes: int | None
    not_before: datetime | None
    """The session's credentials issued before it are revoked, by a mark on the session, its user or everybody."""

    def is_alive(self, now: datetime) -> bool:
        return not self.ended and now < self.expires_at


class SessionStates(Batch[uuid.UUID, SessionState]):
    """Looks up the states of many sessions at once."""

    def __init__(self, database: Database) -> None:
        super().__init__(lambda ids: look_up(database, ids))


def start(
    session: Session,
    vault: Vault,
    origin: Origin,
    now: datetime,
    *,
    user: User,
    method: Method,
    mfa: bool,
    device_name: str | None,
) -> SessionTokens:
    """Starts a session for an authenticated user whose row this transaction has locked.

    If the user has `endings.MOST` sessions already, the least recently used one ends. `mfa`: the user has shown a
    second factor, or a passkey that verified them. Raises `AccountDisabled`, `InvalidLogin`.
    """
    if user.status == "erased":
        raise InvalidLogin
    if user.status != "active":
        audit.record(session, origin, "session.started", now, outcome="refused", subject_id=user.id, reason="disabled")
        raise AccountDisabled
    user.password_from = None  # a user who has signed in needs no password from the old system any more
    endings.make_room(session, origin, now, user_id=user.id)
    family = DeviceSession(
        id=uuid.uuid4(),
        user_id=user.id,
        device_name=device_name,
        method=method,
        created_at=now,
        authenticated_at=now,
        mfa_at=now if mfa else None,
        last_used_at=now,
        last_address=origin.address,
        expires_at=now + SESSION_TTL,
        session_epoch=endings.epoch_of(user.id),
    )
    session.add(family)
    user.last_seen_at = now
    session.flush()
    audit.record(
        session,
        origin,
        "session.started",
        now,
        actor_id=user.id,
        subject_id=user.id,
        session_id=family.id,
        method=method,
        mfa=int(mfa),
    )
    return issue(session, vault, now, family, PREFIX + b64url(secrets.token_bytes(32)), generation=0)


def step_up(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, session_id: uuid.UUID, mfa: bool
) -> SessionTokens:
    """Notes that the session's user has authenticated again. Returns a new refresh token.

    The previous token works until one of the two is used, because the answer may get lost.
    """
    family = session.get_one(DeviceSession, session_id, with_for_update=True)
    family.authenticated_at = family.last_used_at = now
    family.last_address = origin.address
    if mfa:
        family.mfa_at = now
    newest = session.scalar(select(func.max(RefreshToken.generation)).where(RefreshToken.session_id == session_id))
    audit.record(
        session,
        origin,
        "session.stepped_up",
        now,
        actor_id=family.user_id,
        subject_id=family.user_id,
        session_id=session_id,
        mfa=int(mfa),
    )
    return issue(session, vault, now, family, PREFIX + b64url(secrets.token_bytes(32)), generation=(newest or 0) + 1)


def log_out(session: Session, vault: Vault, origin: Origin, now: datetime, *, refresh_token: str) -> None:
    """Ends the session of the token, whether it was used or not. An unknown token is no error (RFC 7009 §2.2)."""
    token = session.scalar(select(RefreshToken).where(RefreshToken.token_hash.in_(hashes_of(vault, refresh_token))))
    if token is not None:
        family = session.get_one(DeviceSession, token.session_id)
        endings.end(session, origin, now, family_id=family.id, actor_id=family.user_id, reason="logout")


def list_alive(
    session: Session, now: datetime, *, user_id: uuid.UUID, limit: int, cursor: str | None
) -> tuple[Sequence[DeviceSession], str | None]:
    """One page of the user's signed-in devices, newest first, and the cursor of the next. Raises `InvalidRequest`."""
    rows = select(DeviceSession).where(
        *endings.alive_of(user_id),
        DeviceSession.expires_at > now,
        DeviceSession.last_used_at > now - REFRESH_IDLE_TTL,
    )
    return listing.page(session, rows, DeviceSession.created_at, DeviceSession.id, limit=limit, cursor=cursor)


async def look_up(database: Database, family_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, SessionState]:
    """The states of the sessions, by one statement for all. Raises `DatabaseUnavailable`."""
    if not database.has_lines:
        return await database.read(states, family_ids)
    return _by_id(await database.on_line(_STATES_ANY, {"family_ids": ",".join(map(str, family_ids))}))


def states(session: Session, family_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, SessionState]:
    """The same within a transaction."""
    return _by_id(session.connection().execute(_STATES_IN, {"family_ids": family_ids}))


def _by_id(rows: Iterable[Sequence[Any]]) -> Mapping[uuid.UUID, SessionState]:
    return {
        family_id: SessionState(
            user_id,
            status,
            role,
            authenticated_at,
            expires_at,
            bool(ended),
            mfa_at is not None,
            guest,
            created_at,
            quota,
            floor.astimezone(UTC) if floor is not None else None,
        )
        for (
            family_id,
            user_id,
            status,
            role,
            authenticated_at,
            expires_at,
            ended,
            mfa_at,
            guest,
            created_at,
            quota,
            floor,
        ) in rows
    }
