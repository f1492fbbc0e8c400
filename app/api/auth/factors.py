"""`/v1/me/totp` and `/v1/me/recovery-codes`: the second factors by code that a user has."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.provided import PlatformDep
from app.auth import codes, recovery_codes, totp
from app.http.guards import Enrolling, OriginDep, SteppedUp, SteppedUpEnrolling
from app.http.routes import JsonRoute
from app.http.wire import RequestModel, ResponseModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1/me", tags=["accounts"], route_class=JsonRoute)


class TotpEnrolment(ResponseModel):
    secret: str
    """The secret for the authenticator app. In base32."""
    otpauth_uri: str
    """The same as a URI, for a QR code or for an app on the same device."""


class ConfirmTotpRequest(RequestModel):
    code: Annotated[str, Field(max_length=codes.MAX_LENGTH, examples=["123 456"])]
    """The code that the authenticator app shows now."""


class RecoveryCodeSet(ResponseModel):
    recovery_codes: list[str]
    """Ten codes. Each works once, in place of a code of the authenticator app."""


@router.post("/totp")
async def enrol_totp(platform: PlatformDep, actor: SteppedUpEnrolling) -> TotpEnrolment:
    """A secret for an authenticator app. It is shown only now, and counts once its first code is confirmed."""
    enrolment = await platform.database.write(
        totp.enrol,
        platform.vault,
        platform.clock.now(),
        user_id=actor.user_id,
        issuer=platform.settings.service_name,
    )
    return TotpEnrolment(secret=enrolment.secret, otpauth_uri=enrolment.otpauth_uri)


@router.post("/totp/confirm")
async def confirm_totp(
    body: ConfirmTotpRequest, platform: PlatformDep, origin: OriginDep, actor: Enrolling
) -> RecoveryCodeSet:
    """Turns the authenticator app on with its first code. Other devices are signed out.

    The recovery codes are shown only now.
    """
    await platform.limiter.hit("mfa", address_key(origin.address))
    return RecoveryCodeSet(recovery_codes=list(await totp.confirm(platform, origin, actor, code=body.code)))


@router.delete("/totp", status_code=204, response_class=Response)
async def remove_totp(platform: PlatformDep, origin: OriginDep, actor: SteppedUp) -> None:
    """Removes the authenticator app and the recovery codes. Other devices are signed out."""
    await platform.database.write(totp.remove, platform.vault, origin, platform.clock.now(), actor=actor)


@router.post("/recovery-codes")
async def renew_recovery_codes(platform: PlatformDep, origin: OriginDep, actor: SteppedUp) -> RecoveryCodeSet:
    """Ten new recovery codes, which are shown only now. The old codes stop working."""
    made = await platform.database.write(
        recovery_codes.renew, platform.vault, origin, platform.clock.now(), actor=actor
    )
    return RecoveryCodeSet(recovery_codes=list(made))
