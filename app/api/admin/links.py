"""`/v1/admin/links`: the links by which people without an account read users' folders."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from app.admin import links
from app.admin.links import KnownLink
from app.api.admin.users import ReasonRequest, act_of
from app.api.credentials.links import LinkWithdrawal
from app.api.provided import PlatformDep
from app.http.guards import Admin, OriginDep, Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, ResponseModel, Timestamp
from app.sharing.giving import ShareAccess

router = APIRouter(prefix="/v1/admin/links", tags=["admin"], route_class=JsonRoute)


class UserLink(ResponseModel):
    link_id: UUID
    owner_id: UUID
    """The id of the user who made the link."""
    owner_email: str | None
    """The address of the user who made the link. Null if they have none."""
    path: str
    """The folder that the link opens, within the owner's prefix. Empty after the owner's account was erased."""
    access: ShareAccess
    """What the link lets people do: `read` is to list the folder and download from it, `contribute` is also to write in
    a part of their own."""
    label: str | None
    has_password: bool
    created_at: Timestamp
    expires_at: Annotated[Timestamp | None, Field(description="When the link ends by itself. Null if it does not.")]
    withdrawn_at: Annotated[Timestamp | None, Field(description="When the link was withdrawn. Null if it was not.")]
    opened_at: Timestamp | None
    reports: int
    """How often people who opened the link reported what it shows."""
    reported_at: Timestamp | None
    """When the last of these reports came. Null if there is none."""


class UserLinkPage(ResponseModel):
    items: list[UserLink]
    next_cursor: str | None


@router.get("")
async def list_user_links(
    platform: PlatformDep,
    _actor: Support,
    user_id: Annotated[UUID | None, Query(description="Only links of this user.")] = None,
    reported: Annotated[bool, Query(description="Only links that somebody reported.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> UserLinkPage:
    """Links of all users, newest first, those that ended too."""
    found, next_cursor = await platform.database.read(
        links.list_all, owner_id=user_id, reported=reported, limit=limit, cursor=cursor
    )
    return UserLinkPage(items=[_link(known) for known in found], next_cursor=next_cursor)


@router.delete("/{link_id}", status_code=202)
async def withdraw_user_link(
    link_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> LinkWithdrawal:
    """Ends a user's link. Nobody can open it any more, and what was vended by it is revoked.

    Some proxies drop the body of a DELETE. `POST /v1/admin/links/{link_id}/withdrawal` does the same.
    """
    act = act_of(platform, origin, actor, body.reason)
    effective_by = await platform.database.write(links.withdraw, act, platform.settings, link_id)
    return LinkWithdrawal(effective_by=effective_by)


@router.post("/{link_id}/withdrawal", status_code=202)
async def request_link_withdrawal(
    link_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> LinkWithdrawal:
    """Does what `DELETE /v1/admin/links/{link_id}` does, by a request whose body passes every proxy."""
    return await withdraw_user_link(link_id, platform, origin, actor, body)


def _link(known: KnownLink) -> UserLink:
    row = known.row
    return UserLink(
        link_id=row.id,
        owner_id=row.owner_id,
        owner_email=known.owner_email,
        path=row.path,
        access=row.access,
        label=row.label,
        has_password=row.password_hash is not None,
        created_at=row.created_at,
        expires_at=row.expires_at,
        withdrawn_at=row.withdrawn_at,
        opened_at=row.opened_at,
        reports=row.reports,
        reported_at=row.reported_at,
    )
