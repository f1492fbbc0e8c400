"""`POST /v1/admin/user-acts`: the same act on many users."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from app.admin import bulk
from app.admin.acts import Act
from app.admin.bulk import MOST, BulkAct
from app.api.admin.users import Reason
from app.api.provided import PlatformDep
from app.http.guards import OriginDep, Support
from app.http.routes import JsonRoute
from app.http.wire import RequestModel, ResponseModel
from app.records.audit import Outcome

router = APIRouter(prefix="/v1/admin/user-acts", tags=["admin"], route_class=JsonRoute)


class UserActRequest(RequestModel):
    act: BulkAct
    """What to do with each of the users."""
    user_ids: Annotated[list[Annotated[UUID, Field(strict=False)]], Field(min_length=1, max_length=MOST)]
    """The ids of the users, at most 100."""
    reason: Reason


class UserActResult(ResponseModel):
    user_id: UUID
    outcome: Outcome
    code: str | None
    """The problem code of a refusal, such as `last_admin`. Null where it was done."""
    detail: str | None
    """Why it was refused, for people who look after users. Null where it was done."""


class UserActResults(ResponseModel):
    done: int
    """How many users it was done to."""
    refused: int
    """How many users it was refused for."""
    items: list[UserActResult]
    """What became of each user, once each, in the order of the request."""


@router.post("")
async def change_users(
    platform: PlatformDep, origin: OriginDep, actor: Support, body: UserActRequest
) -> UserActResults:
    """Does the same to up to 100 users, one after the other. A refusal for one user leaves the others as they are.

    Each of them is done by the rules of the call for one user, and is audited with the reason. Support may sign out,
    unlock and send password resets.
    """
    act = Act(origin, platform.clock.now(), actor, body.reason)
    results = [
        UserActResult(
            user_id=one.user_id,
            outcome="done" if one.refusal is None else "refused",
            code=one.refusal.code if one.refusal else None,
            detail=one.refusal.detail if one.refusal else None,
        )
        for one in await bulk.act_on(platform, actor, act, body.act, body.user_ids)
    ]
    done = sum(one.outcome == "done" for one in results)
    return UserActResults(done=done, refused=len(results) - done, items=results)
