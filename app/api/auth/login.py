"""`/v1/auth`: signing in with a password, refreshing, signing out."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from app.accounts.passwords import MAX_LENGTH
from app.api.auth.wire import LoginResult, TokenSet, login_result, token_set
from app.api.provided import HasherDep, OldSystemDep, PlatformDep, TokensDep
from app.auth import login, rotation, sessions
from app.http.guards import OriginDep
from app.http.routes import JsonRoute
from app.http.wire import DeviceName, PasswordText, RequestModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1/auth", tags=["auth"], route_class=JsonRoute)


class LoginRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    """The account's e-mail address."""
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]
    """The account's password."""
    device_name: DeviceName = None


class RefreshRequest(RequestModel):
    refresh_token: str
    """The session's refresh token, which this uses up."""


class LogoutRequest(RequestModel):
    refresh_token: str
    """A refresh token of the session to end, used up or not."""


@router.post("/login")
async def log_in(
    body: LoginRequest,
    *,
    platform: PlatformDep,
    hasher: HasherDep,
    tokens: TokensDep,
    old_system: OldSystemDep,
    origin: OriginDep,
) -> LoginResult:
    """Signs a device in with e-mail address and password."""
    await platform.limiter.hit("log_in", address_key(origin.address))
    outcome = await login.log_in(
        platform,
        hasher,
        old_system,
        origin,
        email=body.email,
        password=body.password.get_secret_value(),
        device_name=body.device_name,
    )
    return login_result(platform, tokens, outcome)


@router.post("/refresh")
async def refresh_session(
    body: RefreshRequest, platform: PlatformDep, tokens: TokensDep, origin: OriginDep
) -> TokenSet:
    """A new access token and a new refresh token. The sent refresh token is used up: store the new one before you do
    anything else.

    An app that never got the answer may send the same token again: within 30 seconds, or as long as the operator
    allows. It gets the same new refresh token, unless that was used.
    """
    await platform.limiter.hit("refresh", address_key(origin.address))
    grant = await platform.database.write(
        rotation.refresh,
        platform.vault,
        origin,
        platform.clock.now(),
        refresh_token=body.refresh_token,
        grace=timedelta(seconds=platform.settings.refresh_grace),
        verified_only=platform.settings.verifies_email,
    )
    return token_set(platform, tokens, grant)


@router.post("/logout", status_code=204, response_class=Response)
async def log_out(body: LogoutRequest, platform: PlatformDep, origin: OriginDep) -> None:
    """Ends the session of the refresh token. An unknown token is no error."""
    await platform.database.write(
        sessions.log_out, platform.vault, origin, platform.clock.now(), refresh_token=body.refresh_token
    )
