"""`/v1/auth/guest` and `/v1/me/upgrade`: accounts before anybody has registered, and after."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.accounts.passwords import MAX_LENGTH
from app.api.auth.wire import LoginResult, login_result
from app.api.provided import HasherDep, NewcomersDep, PlatformDep, TokensDep
from app.auth import guests
from app.auth.guests import Upgraded
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import DeviceName, PasswordText, RequestModel, ResponseModel
from app.platform.limits import address_key
from app.platform.problems import GuestsOff

router = APIRouter(prefix="/v1", route_class=JsonRoute)


class GuestRequest(RequestModel):
    device_name: DeviceName = None


class UpgradeRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    """The address that the guest will sign in with."""
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]
    """The password that the guest will sign in with. A weak one is refused with 422 `weak_password`."""


class UpgradeResult(ResponseModel):
    status: Upgraded
    """`active`: the account is no guest any more. `verification_required`: a mail was sent, and the account stays a
    guest until its link is opened."""


@router.post("/auth/guest", tags=["auth"])
async def start_guest(
    body: GuestRequest, platform: PlatformDep, tokens: TokensDep, newcomers: NewcomersDep, origin: OriginDep
) -> LoginResult:
    """Creates an account without address and password. Only its refresh token opens it: whoever loses the device loses
    the account.

    The answer is 403 `guests_off` if the operator turned guests off. Existing guests are not affected.
    """
    if platform.settings.guests == "off":
        raise GuestsOff
    await platform.limiter.hit("guest", address_key(origin.address))
    async with newcomers.turn(address_key(origin.address)):
        grant = await platform.database.write(
            guests.start, platform.vault, origin, platform.clock.now(), device_name=body.device_name
        )
    return login_result(platform, tokens, grant)


@router.post("/me/upgrade", tags=["accounts"])
async def upgrade_guest(
    body: UpgradeRequest, platform: PlatformDep, hasher: HasherDep, origin: OriginDep, actor: SignedIn
) -> UpgradeResult:
    """Gives a guest an address and a password. Id, prefix and session stay the same.

    Where addresses are verified, the account stays a guest account until the link in the mail is opened.
    """
    await platform.limiter.hit("register", address_key(origin.address))
    status = await guests.upgrade(
        platform, hasher, origin, actor, email=body.email, password=body.password.get_secret_value()
    )
    return UpgradeResult(status=status)
