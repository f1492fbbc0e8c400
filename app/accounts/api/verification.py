"""`/v1/email-verifications`: showing that an address is one's own."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from app.accounts import verification
from app.auth import guests
from app.limits import address_key
from app.problems import InvalidSingleUseToken
from app.web import JsonRoute, OriginDep, RequestModel, RuntimeDep

router = APIRouter(prefix="/v1/email-verifications", tags=["accounts"], route_class=JsonRoute)


class EmailVerificationRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]


class ConfirmEmailVerificationRequest(RequestModel):
    token: Annotated[str, Field(max_length=256)]


@router.post("", status_code=202, response_class=Response)
async def request_email_verification(body: EmailVerificationRequest, runtime: RuntimeDep, origin: OriginDep) -> None:
    """Sends the mail again, if the address has an account that waits for it. The answer does not tell."""
    await runtime.limiter.hit("mail", address_key(origin.address))
    await verification.request(runtime, origin, email=body.email)


@router.post("/confirm", status_code=204, response_class=Response)
async def confirm_email_verification(
    body: ConfirmEmailVerificationRequest, runtime: RuntimeDep, origin: OriginDep
) -> None:
    """Verifies the address that the token was sent to, and finishes a guest's upgrade. No sign-in comes of it."""
    await runtime.limiter.hit("confirm", address_key(origin.address))
    try:
        await runtime.database.write(guests.confirm, runtime.vault, origin, runtime.clock.now(), token=body.token)
    except InvalidSingleUseToken:
        await verification.confirm(runtime, origin, token=body.token)
