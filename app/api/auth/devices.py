"""`/v1/me/sessions`: the devices that a user is signed in on."""

from uuid import UUID

from fastapi import APIRouter, Response

from app.api.provided import PlatformDep
from app.auth import endings, sessions
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, ResponseModel, Timestamp

router = APIRouter(prefix="/v1/me/sessions", tags=["accounts"], route_class=JsonRoute)


class Session(ResponseModel):
    session_id: UUID
    device_name: str | None
    created_at: Timestamp
    """When the device signed in."""
    last_used_at: Timestamp
    current: bool
    """Whether it is the session of this request."""


class SessionPage(ResponseModel):
    items: list[Session]
    next_cursor: str | None


@router.get("")
async def list_sessions(
    platform: PlatformDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None
) -> SessionPage:
    """The caller's signed-in devices, newest first."""
    alive, next_cursor = await platform.database.read(
        sessions.list_alive, platform.clock.now(), user_id=actor.user_id, limit=limit, cursor=cursor
    )
    devices = [
        Session(
            session_id=family.id,
            device_name=family.device_name,
            created_at=family.created_at,
            last_used_at=family.last_used_at,
            current=family.id == actor.session_id,
        )
        for family in alive
    ]
    return SessionPage(items=devices, next_cursor=next_cursor)


@router.delete("/{session_id}", status_code=204, response_class=Response)
async def end_session(session_id: UUID, platform: PlatformDep, origin: OriginDep, actor: SignedIn) -> None:
    """Signs one of the caller's devices out."""
    await platform.database.write(
        endings.sign_out,
        origin,
        platform.clock.now(),
        user_id=actor.user_id,
        actor_id=actor.user_id,
        family_id=session_id,
    )


@router.delete("", status_code=204, response_class=Response)
async def end_all_sessions(platform: PlatformDep, origin: OriginDep, actor: SignedIn) -> None:
    """Signs all of the caller's devices out, including this one."""
    await platform.database.write(
        endings.sign_out, origin, platform.clock.now(), user_id=actor.user_id, actor_id=actor.user_id
    )
