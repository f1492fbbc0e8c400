"""`/v1/auth` and `/v1/me/sessions`."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.auth import login, sessions
from app.auth.sessions import Grant
from app.auth.tokens import ACCESS_TOKEN_TTL
from app.limits import address_key
from app.passwords import MAX_LENGTH
from app.runtime import Runtime
from app.web import (
    JsonRoute,
    OriginDep,
    PasswordText,
    PrintableText,
    RequestModel,
    ResponseModel,
    RuntimeDep,
    SignedIn,
    Timestamp,
)

router = APIRouter(prefix="/v1", route_class=JsonRoute)


class LoginRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]
    device_name: Annotated[PrintableText, Field(min_length=1, max_length=100)] | None = None


class RefreshRequest(RequestModel):
    refresh_token: str


class LogoutRequest(RequestModel):
    refresh_token: str


class TokenSet(ResponseModel):
    token_type: Literal["Bearer"]
    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    session_id: UUID


class LoginResult(ResponseModel):
    status: Literal["complete"]
    tokens: TokenSet
    mfa: None = None


class Device(ResponseModel):
    session_id: UUID
    device_name: str | None
    created_at: Timestamp
    last_used_at: Timestamp
    current: bool


class DevicePage(ResponseModel):
    items: list[Device]
    next_cursor: str | None


@router.post("/auth/login", tags=["auth"])
async def log_in(body: LoginRequest, runtime: RuntimeDep, origin: OriginDep) -> LoginResult:
    """Signs a device in with e-mail address and password."""
    runtime.limiter.hit("log_in", address_key(origin.address))
    grant = await login.log_in(
        runtime, origin, email=body.email, password=body.password.get_secret_value(), device_name=body.device_name
    )
    return LoginResult(status="complete", tokens=_token_set(runtime, grant))


@router.post("/auth/refresh", tags=["auth"])
async def refresh_session(body: RefreshRequest, runtime: RuntimeDep, origin: OriginDep) -> TokenSet:
    """A new access token and a new refresh token. The one sent is spent: keep the new one before anything else.

    An app that never got the answer may send the same token again within 30 seconds and gets the same successor.
    """
    runtime.limiter.hit("refresh", address_key(origin.address))
    grant = await runtime.database.write(
        sessions.refresh, runtime.vault, origin, runtime.clock.now(), refresh_token=body.refresh_token
    )
    return _token_set(runtime, grant)


@router.post("/auth/logout", tags=["auth"], status_code=204, response_class=Response)
async def log_out(body: LogoutRequest, runtime: RuntimeDep, origin: OriginDep) -> None:
    """Ends the session of the refresh token; no error if there is none."""
    await runtime.database.write(
        sessions.log_out, runtime.vault, origin, runtime.clock.now(), refresh_token=body.refresh_token
    )


@router.get("/me/sessions", tags=["accounts"])
async def list_sessions(runtime: RuntimeDep, actor: SignedIn) -> DevicePage:
    """The caller's signed-in devices."""
    alive = await runtime.database.read(sessions.list_alive, runtime.clock.now(), user_id=actor.user_id)
    devices = [
        Device(
            session_id=family.id,
            device_name=family.device_name,
            created_at=family.created_at,
            last_used_at=family.last_used_at,
            current=family.id == actor.session_id,
        )
        for family in alive
    ]
    return DevicePage(items=devices, next_cursor=None)


@router.delete("/me/sessions/{session_id}", tags=["accounts"], status_code=204, response_class=Response)
async def end_session(session_id: UUID, runtime: RuntimeDep, origin: OriginDep, actor: SignedIn) -> None:
    """Signs one of the caller's devices out."""
    await runtime.database.write(
        sessions.sign_out, origin, runtime.clock.now(), user_id=actor.user_id, family_id=session_id
    )


@router.delete("/me/sessions", tags=["accounts"], status_code=204, response_class=Response)
async def end_all_sessions(runtime: RuntimeDep, origin: OriginDep, actor: SignedIn) -> None:
    """Signs all of the caller's devices out, this one too."""
    await runtime.database.write(sessions.sign_out, origin, runtime.clock.now(), user_id=actor.user_id)


def _token_set(runtime: Runtime, grant: Grant) -> TokenSet:
    access_token = runtime.tokens.mint(
        user_id=grant.user_id, session_id=grant.session_id, authenticated_at=grant.authenticated_at
    )
    remaining = grant.refresh_expires_at - runtime.clock.now()
    return TokenSet(
        token_type="Bearer",  # noqa: S106 - the name of a scheme
        access_token=access_token,
        expires_in=ACCESS_TOKEN_TTL,
        refresh_token=grant.refresh_token,
        refresh_expires_in=int(remaining.total_seconds()),
        session_id=grant.session_id,
    )
