"""`/v1/auth`: signing in with a password, refreshing, signing out."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from app.auth import login, sessions
from app.auth.api.wire import LoginResult, TokenSet, login_result, token_set
from app.limits import address_key
from app.passwords import MAX_LENGTH
from app.web import JsonRoute, OriginDep, PasswordText, PrintableText, RequestModel, RuntimeDep

router = APIRouter(prefix="/v1/auth", tags=["auth"], route_class=JsonRoute)


class LoginRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]
    device_name: Annotated[PrintableText, Field(min_length=1, max_length=100)] | None = None


class RefreshRequest(RequestModel):
    refresh_token: str


class LogoutRequest(RequestModel):
    refresh_token: str


@router.post("/login")
async def log_in(body: LoginRequest, runtime: RuntimeDep, origin: OriginDep) -> LoginResult:
    """Signs a device in with e-mail address and password."""
    await runtime.limiter.hit("log_in", address_key(origin.address))
    outcome = await login.log_in(
        runtime, origin, email=body.email, password=body.password.get_secret_value(), device_name=body.device_name
    )
    return login_result(runtime, outcome)


@router.post("/refresh")
async def refresh_session(body: RefreshRequest, runtime: RuntimeDep, origin: OriginDep) -> TokenSet:
    """A new access token and a new refresh token. The sent refresh token is used up: store the new one before you do
    anything else.

    An app that never got the answer may send the same token again within 30 seconds. It gets the same new refresh
    token.
    """
    await runtime.limiter.hit("refresh", address_key(origin.address))
    grant = await runtime.database.write(
        sessions.refresh,
        runtime.vault,
        origin,
        runtime.clock.now(),
        refresh_token=body.refresh_token,
        verified_only=runtime.settings.verifies_email,
    )
    return token_set(runtime, grant)


@router.post("/logout", status_code=204, response_class=Response)
async def log_out(body: LogoutRequest, runtime: RuntimeDep, origin: OriginDep) -> None:
    """Ends the session of the refresh token. An unknown token is no error."""
    await runtime.database.write(
        sessions.log_out, runtime.vault, origin, runtime.clock.now(), refresh_token=body.refresh_token
    )
