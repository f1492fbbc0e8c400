"""`/v1/auth/guest` and `/v1/me/upgrade`: accounts before anybody has registered, and after."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.auth import guests
from app.auth.api.wire import LoginResult, login_result
from app.auth.guests import Upgraded
from app.limits import address_key
from app.passwords import MAX_LENGTH
from app.problems import GuestsOff
from app.web import JsonRoute, OriginDep, PasswordText, PrintableText, RequestModel, ResponseModel, RuntimeDep, SignedIn

router = APIRouter(prefix="/v1", route_class=JsonRoute)


class GuestRequest(RequestModel):
    device_name: Annotated[PrintableText, Field(min_length=1, max_length=100)] | None = None


class UpgradeRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]


class UpgradeResult(ResponseModel):
    status: Upgraded


@router.post("/auth/guest", tags=["auth"])
async def start_guest(body: GuestRequest, runtime: RuntimeDep, origin: OriginDep) -> LoginResult:
    """Creates an account without address and password. Only its refresh token opens it: whoever loses the device loses
    the account.

    The answer is 403 `guests_off` if the operator turned guests off. Existing guests are not affected.
    """
    if runtime.settings.guests == "off":
        raise GuestsOff
    await runtime.limiter.hit("guest", address_key(origin.address))
    async with runtime.newcomers.turn(address_key(origin.address)):
        grant = await runtime.database.write(
            guests.start, runtime.vault, origin, runtime.clock.now(), device_name=body.device_name
        )
    return login_result(runtime, grant)


@router.post("/me/upgrade", tags=["accounts"])
async def upgrade_guest(body: UpgradeRequest, runtime: RuntimeDep, origin: OriginDep, actor: SignedIn) -> UpgradeResult:
    """Gives a guest an address and a password. Id, prefix and session stay the same.

    Where addresses are verified, the account stays a guest account until the link in the mail is opened.
    """
    await runtime.limiter.hit("register", address_key(origin.address))
    status = await guests.upgrade(runtime, origin, actor, email=body.email, password=body.password.get_secret_value())
    return UpgradeResult(status=status)
