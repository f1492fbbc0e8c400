"""Finds the actor of an access token. It looks up session and user on every request, so ending either holds at once."""

from datetime import datetime
from uuid import UUID

from app.auth.sessions import SessionState, SessionStates
from app.auth.tokens import AccessTokens
from app.platform.db import Batch
from app.platform.problems import AccountDisabled, InvalidToken
from app.platform.process import Platform
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin


async def authenticate(
    platform: Platform, tokens: AccessTokens, session_states: SessionStates, origin: Origin, token: str
) -> Actor:
    """The actor who calls. Raises `InvalidToken`, `AccountDisabled`."""
    claims = tokens.verify(token)
    return await look_up(platform, session_states, origin, user_id=claims.user_id, session_id=claims.session_id)


async def look_up(
    platform: Platform, session_states: Batch[UUID, SessionState], origin: Origin, *, user_id: UUID, session_id: UUID
) -> Actor:
    """The actor of a session that is alive now. Raises `InvalidToken`, `AccountDisabled`."""
    state = await session_states.get(session_id)
    if state is None or not is_that_of(state, user_id, platform.clock.now()):
        raise InvalidToken
    actor = actor_of(state, session_id)
    if state.status != "active":
        await record_refusal(platform, origin, actor, reason="disabled")
        raise AccountDisabled
    return actor


def is_that_of(state: SessionState, user_id: UUID, now: datetime) -> bool:
    """Whether the session is alive and its account is the user's. The account may still be disabled."""
    return state.is_alive(now) and state.user_id == user_id and state.status != "erased"


def actor_of(state: SessionState, session_id: UUID) -> Actor:
    return Actor(
        state.user_id,
        session_id,
        state.role,
        state.authenticated_at,
        state.mfa,
        state.guest,
        state.not_before,
        state.quota_bytes,
        state.created_at,
    )


async def record_refusal(platform: Platform, origin: Origin, actor: Actor, *, reason: str) -> None:
    """Audits that a known caller was refused access (ASVS 16.3.2), at most once a minute for each reason."""
    now = platform.clock.now()
    refusal = audit.Refusal(event="access.refused", reason=reason, actor_id=actor.user_id, session_id=actor.session_id)
    # Read first: on SQLite a flood of refusals would otherwise block all other writes.
    if not await platform.database.read(audit.is_recorded, origin, now, refusal):
        await platform.database.write(audit.record_refusal, origin, now, refusal)
