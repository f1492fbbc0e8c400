"""`/v1/admin/users/{user_id}/…`: the user's e-mail address, as staff look after it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from app.admin import email
from app.api.admin.users import AdminUser, Reason, ReasonRequest, act_of, shown
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep, SteppedUpAdmin, Support
from app.http.routes import JsonRoute
from app.http.wire import RequestModel

router = APIRouter(prefix="/v1/admin/users/{user_id}", tags=["admin"], route_class=JsonRoute)


class ChangeUserEmailRequest(RequestModel):
    new_email: Annotated[str, Field(max_length=320)]
    reason: Reason


@router.post("/send-verification")
async def send_user_verification(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Support, body: ReasonRequest
) -> AdminUser:
    """Sends the user the mail of `POST /v1/email-verifications`, to an address that is not verified yet."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await email.send_verification(platform, act, user_id))


@router.post("/verify-email")
async def verify_user_email(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> AdminUser:
    """Verifies the user's address by hand. If several people registered it, the password is removed, and the user
    chooses one by a reset.
    """
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await platform.database.write(email.verify, act, user_id))


@router.post("/email")
async def change_user_email(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: SteppedUpAdmin, body: ChangeUserEmailRequest
) -> AdminUser:
    """Gives the user another address at once, which is unverified. It gets a link, and the old address a notice.

    The caller has signed in, or stepped up, within five minutes. Members of staff change their own address.
    """
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await email.change(platform, act, user_id, new_email=body.new_email))
