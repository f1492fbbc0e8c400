"""`/v1/password-resets` and `/v1/me/password`: new passwords, by mail or by the old one."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from app.accounts.passwords import MAX_LENGTH
from app.api.provided import HasherDep, PlatformDep
from app.auth import password_change, password_reset
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import PasswordText, RequestModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=JsonRoute)


class PasswordResetRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    """The account's e-mail address."""


class ConfirmPasswordResetRequest(RequestModel):
    token: Annotated[str, Field(max_length=256)]
    new_password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]


class ChangePasswordRequest(RequestModel):
    current_password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None
    """The password so far. Left out, or null, if the account has none. Then a fresh sign-in is needed instead."""
    new_password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]


@router.post("/password-resets", status_code=202, response_class=Response)
async def request_password_reset(body: PasswordResetRequest, platform: PlatformDep, origin: OriginDep) -> None:
    """Sends a link that is good for ten minutes if the address has an account. The answer is the same either way."""
    await platform.limiter.hit("mail", address_key(origin.address))
    await password_reset.request(platform, origin, email=body.email)


@router.post("/password-resets/confirm", status_code=204, response_class=Response)
async def confirm_password_reset(
    body: ConfirmPasswordResetRequest, platform: PlatformDep, hasher: HasherDep, origin: OriginDep
) -> None:
    """Sets a new password and signs all devices out. Sign in next. A second factor is required as before."""
    await platform.limiter.hit("confirm", address_key(origin.address))
    await password_reset.confirm(
        platform, hasher, origin, token=body.token, new_password=body.new_password.get_secret_value()
    )


@router.put("/me/password", status_code=204, response_class=Response)
async def change_password(
    body: ChangePasswordRequest, platform: PlatformDep, hasher: HasherDep, origin: OriginDep, actor: SignedIn
) -> None:
    """Sets a new password and signs the other devices out."""
    await platform.limiter.hit("confirm", address_key(origin.address))
    await password_change.change(
        platform,
        hasher,
        origin,
        actor,
        current_password=body.current_password.get_secret_value() if body.current_password else None,
        new_password=body.new_password.get_secret_value(),
    )
