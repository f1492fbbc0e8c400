"""`/v1/me/email`: another e-mail address for an account."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from app.accounts import email_change
from app.accounts.passwords import MAX_LENGTH
from app.api.provided import HasherDep, PlatformDep
from app.http.guards import MaybeSignedIn, OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import PasswordText, RequestModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1/me/email", tags=["accounts"], route_class=JsonRoute)


class EmailChangeRequest(RequestModel):
    new_email: Annotated[str, Field(max_length=320, examples=["ada@example.com"])]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None
    """The account's password. Left out, or null, if the account has none. Then a fresh sign-in is needed instead."""


class ConfirmEmailChangeRequest(RequestModel):
    token: Annotated[str, Field(max_length=256)]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)] | None = None
    """The account's password. Left out, or null, with an access token of the account."""


@router.post("", status_code=202, response_class=Response)
async def request_email_change(
    body: EmailChangeRequest, platform: PlatformDep, hasher: HasherDep, origin: OriginDep, actor: SignedIn
) -> None:
    """Sends a link to the new address. The account keeps its old address until the link is opened. A mail tells the old
    address.
    """
    await platform.limiter.hit("mail", address_key(origin.address))
    await email_change.request(
        platform,
        hasher,
        origin,
        actor,
        new_email=body.new_email,
        password=body.password.get_secret_value() if body.password else None,
    )


@router.post("/confirm", status_code=204, response_class=Response)
async def confirm_email_change(
    body: ConfirmEmailChangeRequest, platform: PlatformDep, hasher: HasherDep, origin: OriginDep, actor: MaybeSignedIn
) -> None:
    """Gives the account the address that the token was sent to.

    This needs an access token of the account, or the account's password. Without either the answer is 403
    `account_password_required`, or `account_session_required` if the account has no password. Five wrong passwords use
    the token up. A token that has given the account its address gets 204 again.
    """
    await platform.limiter.hit("confirm", address_key(origin.address))
    password = body.password.get_secret_value() if body.password else None
    await email_change.confirm(platform, hasher, origin, actor, token=body.token, password=password)
