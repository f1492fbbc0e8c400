"""`/v1/email-verifications`: showing that an address is one's own."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from app.accounts import verification
from app.accounts.passwords import MAX_LENGTH
from app.api.provided import HasherDep, PlatformDep
from app.auth import guests
from app.http.guards import MaybeSignedIn, OriginDep
from app.http.routes import JsonRoute
from app.http.wire import PasswordText, RequestModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1/email-verifications", tags=["accounts"], route_class=JsonRoute)


class EmailVerificationRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    """The address that waits to be verified."""


class ConfirmEmailVerificationRequest(RequestModel):
    token: Annotated[str, Field(max_length=256)]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None
    """The password that the guest chose, if a session other than the guest's own confirms an upgrade. Otherwise left
    out, or null."""


@router.post("", status_code=202, response_class=Response)
async def request_email_verification(body: EmailVerificationRequest, platform: PlatformDep, origin: OriginDep) -> None:
    """Sends the mail again if an account with this address waits for it. The answer is the same either way."""
    await platform.limiter.hit("mail", address_key(origin.address))
    await verification.request(platform, origin, email=body.email)


@router.post("/confirm", status_code=204, response_class=Response)
async def confirm_email_verification(
    body: ConfirmEmailVerificationRequest,
    platform: PlatformDep,
    hasher: HasherDep,
    origin: OriginDep,
    actor: MaybeSignedIn,
) -> None:
    """Verifies the address that the token was sent to, or finishes the upgrade of a guest. It signs nobody in.

    An upgrade needs the guest's own access token, or the password that the guest chose. Without either the answer is
    403 `account_password_required`. Five wrong passwords use the token up.
    A token that has verified the address gets 204 again.
    """
    await platform.limiter.hit("confirm", address_key(origin.address))
    password = body.password.get_secret_value() if body.password else None
    if await guests.owns(platform, body.token):
        await guests.confirm(platform, hasher, origin, actor, token=body.token, password=password)
    else:
        await verification.confirm(platform, origin, token=body.token)
