"""`/v1/me/sessions`: the devices that a user is signed in on."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app import endings
from app.auth import sessions
from app.web import JsonRoute, OriginDep, ResponseModel, RuntimeDep, SignedIn, Timestamp

router = APIRouter(prefix="/v1/me/sessions", tags=["accounts"], route_class=JsonRoute)


class Session(ResponseModel):
    session_id: UUID
    device_name: str | None
    created_at: Timestamp
    last_used_at: Timestamp
    current: bool


class SessionPage(ResponseModel):
    items: list[Session]
    next_cursor: str | None


@router.get("")
async def list_sessions(
    runtime: RuntimeDep,
    actor: SignedIn,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> SessionPage:
    """The caller's signed-in devices, newest first."""
    alive, next_cursor = await runtime.database.read(
        sessions.list_alive, runtime.clock.now(), user_id=actor.user_id, limit=limit, cursor=cursor
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
async def end_session(session_id: UUID, runtime: RuntimeDep, origin: OriginDep, actor: SignedIn) -> None:
    """Signs one of the caller's devices out."""
    await runtime.database.write(
        endings.sign_out,
        origin,
        runtime.clock.now(),
        user_id=actor.user_id,
        actor_id=actor.user_id,
        family_id=session_id,
    )


@router.delete("", status_code=204, response_class=Response)
async def end_all_sessions(runtime: RuntimeDep, origin: OriginDep, actor: SignedIn) -> None:
    """Signs all of the caller's devices out, including this one."""
    await runtime.database.write(
        endings.sign_out, origin, runtime.clock.now(), user_id=actor.user_id, actor_id=actor.user_id
    )
