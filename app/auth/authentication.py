"""From an access token to the actor. Session and user are looked up on every request: ending either holds at once."""

from typing import TYPE_CHECKING
from uuid import UUID

from app.platform.problems import AccountDisabled, InvalidToken
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin

if TYPE_CHECKING:
    from app.compose import Runtime


async def authenticate(runtime: "Runtime", origin: Origin, token: str) -> Actor:
    """Who calls. Raises `InvalidToken`, `AccountDisabled`."""
    claims = runtime.tokens.verify(token)
    return await look_up(runtime, origin, user_id=claims.user_id, session_id=claims.session_id)


async def look_up(runtime: "Runtime", origin: Origin, *, user_id: UUID, session_id: UUID) -> Actor:
    """The actor of a session that is alive now. Raises `InvalidToken`, `AccountDisabled`."""
    state = await runtime.session_states.get(session_id)
    now = runtime.clock.now()
    if state is None or not state.is_alive(now) or state.user_id != user_id or state.status == "erased":
        raise InvalidToken
    actor = Actor(
        user_id,
        session_id,
        state.role,
        state.authenticated_at,
        state.mfa,
        state.guest,
        state.not_before,
        state.quota_bytes,
        state.created_at,
    )
    if state.status != "active":
        await record_refusal(runtime, origin, actor, reason="disabled")
        raise AccountDisabled
    return actor


async def record_refusal(runtime: "Runtime", origin: Origin, actor: Actor, *, reason: str) -> None:
    """Somebody whom we know asked for what is not theirs to have (ASVS 16.3.2): once a minute for each reason."""
    now = runtime.clock.now()
    refusal = audit.Refusal(event="access.refused", reason=reason, actor_id=actor.user_id, session_id=actor.session_id)
    # Looked up first: on SQLite a flood of refusals would otherwise keep everybody who writes waiting.
    if not await runtime.database.read(audit.is_recorded, origin, now, refusal):
        await runtime.database.write(audit.record_refusal, origin, now, refusal)
