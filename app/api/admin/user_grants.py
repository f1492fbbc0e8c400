"""`/v1/admin/users/{user_id}/grants/…`: the folders that a user shares, and those that others share with the user."""

from uuid import UUID

from fastapi import APIRouter

from app.admin import shares
from app.api.provided import PlatformDep
from app.http.guards import Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, ResponseModel, Timestamp
from app.sharing.giving import ShareAccess

router = APIRouter(prefix="/v1/admin/users/{user_id}/grants", tags=["admin"], route_class=JsonRoute)


class UserGrant(ResponseModel):
    grant_id: UUID
    owner_id: UUID
    """The id of the user who shares the folder."""
    grantee_id: UUID | None
    """The id of the user who may read the folder. Null while the grant waits for somebody with the address."""
    other_email: str | None
    """The address of the other side: the one that the owner wrote, or the owner's. Null after an erasure."""
    path: str
    access: ShareAccess
    """What the grantee may do: `read` is to list the folder and download from it, `contribute` is also to write in a
    part of their own."""
    quota_bytes: int | None
    """How much the grantee may contribute. In bytes. Null if only the owner's quota decides."""
    created_at: Timestamp
    expires_at: Timestamp | None
    accepted_at: Timestamp | None
    """When the grantee accepted it. Null if they have not."""
    withdrawn_at: Timestamp | None
    left_at: Timestamp | None
    """When the grantee left or declined it: at once, if they had left two folders of this owner before. Null if they
    have not. The owner is not told."""


class UserGrantPage(ResponseModel):
    items: list[UserGrant]
    next_cursor: str | None


@router.get("/given")
async def list_user_grants_given(
    user_id: UUID, platform: PlatformDep, _actor: Support, limit: Limit = 50, cursor: Cursor = None
) -> UserGrantPage:
    """The folders that the user shares or has shared, newest first."""
    found, next_cursor = await platform.database.read(shares.list_given, user_id, limit=limit, cursor=cursor)
    return UserGrantPage(
        items=[UserGrant.model_validate(grant, from_attributes=True) for grant in found], next_cursor=next_cursor
    )


@router.get("/received")
async def list_user_grants_received(
    user_id: UUID, platform: PlatformDep, _actor: Support, limit: Limit = 50, cursor: Cursor = None
) -> UserGrantPage:
    """The folders that others share or have shared with the user, newest first."""
    found, next_cursor = await platform.database.read(shares.list_received, user_id, limit=limit, cursor=cursor)
    return UserGrantPage(
        items=[UserGrant.model_validate(grant, from_attributes=True) for grant in found], next_cursor=next_cursor
    )
