"""`/v1/grants`: folders that users share with each other."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.api.provided import BucketDep, PlatformDep
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, MomentInBody, RequestModel, ResponseModel, Timestamp
from app.platform.settings import MOST_BYTES
from app.sharing import giving, receiving
from app.sharing.giving import Given, ShareAccess

router = APIRouter(prefix="/v1/grants", tags=["credentials"], route_class=JsonRoute)


class GrantRequest(RequestModel):
    grantee_email: Annotated[str, Field(max_length=1024)]
    path: Annotated[str, Field(examples=["albums/2026/"], max_length=1024)]
    """The folder to share, within the caller's prefix. It ends in `/`. With `contribute`, no segment is `by`."""
    access: ShareAccess = "read"
    """What the grantee may do: `read` is to list the folder and download from it, `contribute` is also to write in a
    part of their own."""
    quota_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST_BYTES,
            description="How much the grantee may contribute. In bytes. Left out, or null: only the caller's own quota "
            "decides.",
        ),
    ] = None
    expires_at: Annotated[
        MomentInBody | None,
        Field(description="When the grant ends by itself. Left out, or null: not before it is withdrawn."),
    ] = None


class Grant(ResponseModel):
    """A folder that the caller shares. The answer does not tell whether an account has the address, or reads the
    folder.
    """

    grant_id: UUID
    grantee_email: str
    prefix: str
    """Where the shared folder is in the bucket."""
    path: str
    access: ShareAccess
    """What the grantee may do: `read` is to list the folder and download from it, `contribute` is also to write in a
    part of their own."""
    quota_bytes: int | None
    """How much the grantee may contribute. In bytes. Null if only the owner's quota decides."""
    created_at: Timestamp
    expires_at: Timestamp | None


class GrantPage(ResponseModel):
    items: list[Grant]
    next_cursor: str | None


class ReceivedGrant(ResponseModel):
    """A folder that somebody shares with the caller."""

    grant_id: UUID
    owner_display_name: str | None
    """The name of the user who shares the folder. Null if there is none."""
    owner_email: str | None
    """The address of the user who shares the folder. Null if there is none."""
    prefix: str
    """Where the shared folder is in the bucket."""
    path: str
    access: ShareAccess
    """What the grantee may do: `read` is to list the folder and download from it, `contribute` is also to write in a
    part of their own."""
    quota_bytes: int | None
    """How much the grantee may contribute. In bytes. Null if only the owner's quota decides."""
    created_at: Timestamp
    expires_at: Timestamp | None
    accepted_at: Timestamp | None
    """When the caller accepted it. Null until then: only a credential that names the grant carries it."""


class ReceivedGrantPage(ResponseModel):
    items: list[ReceivedGrant]
    next_cursor: str | None


class GrantWithdrawal(ResponseModel):
    effective_by: Timestamp
    """When, at the latest, the engine refuses what was vended with the folder. It is the same whether anything was."""


@router.post("", status_code=201)
async def create_grant(
    platform: PlatformDep, bucket: BucketDep, origin: OriginDep, actor: SignedIn, body: GrantRequest
) -> Grant:
    """Shares a folder with the account that has the e-mail address, now or later. A mail tells its owner.

    With the `access` `contribute` the grantee also writes in it, under `by/` and their own user id alone. If the folder
    is shared with them in the same way until the same time already, the answer is that grant. If it is shared until
    another time, or in another way, the answer is 409 `grant_exists`.
    """
    given = await giving.create(
        platform,
        bucket,
        origin,
        actor,
        email=body.grantee_email,
        path=body.path,
        access=body.access,
        quota_bytes=body.quota_bytes,
        expires_at=body.expires_at,
    )
    return _grant(given)


@router.get("")
async def list_grants(platform: PlatformDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None) -> GrantPage:
    """The folders that the caller shares, newest first."""
    now = platform.clock.now()
    given, next_cursor = await platform.database.read(giving.list_given, now, actor, limit=limit, cursor=cursor)
    return GrantPage(items=[_grant(grant) for grant in given], next_cursor=next_cursor)


@router.get("/received")
async def list_received_grants(
    platform: PlatformDep, origin: OriginDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None
) -> ReceivedGrantPage:
    """The folders that others share with the caller, newest first."""
    received, next_cursor = await receiving.list_received(platform, origin, actor, limit=limit, cursor=cursor)
    items = [
        ReceivedGrant(
            grant_id=grant.id,
            owner_display_name=grant.owner_display_name,
            owner_email=grant.owner_email,
            prefix=grant.prefix,
            path=grant.path,
            access=grant.access,
            quota_bytes=grant.quota_bytes,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
            accepted_at=grant.accepted_at,
        )
        for grant in received
    ]
    return ReceivedGrantPage(items=items, next_cursor=next_cursor)


@router.post("/received/{grant_id:uuid}/accept", status_code=204, response_class=Response)
async def accept_grant(platform: PlatformDep, origin: OriginDep, actor: SignedIn, grant_id: UUID) -> None:
    """Accepts a folder that is shared with the caller. From now on `include_shared` carries it on every device.

    The caller declines a folder, before or after, with `DELETE /v1/grants/{grant_id}`. Its owner learns of neither.
    """
    await receiving.accept(platform, origin, actor, grant_id)


@router.delete("/{grant_id:uuid}", status_code=202)  # `/received` is none
async def withdraw_grant(platform: PlatformDep, origin: OriginDep, actor: SignedIn, grant_id: UUID) -> GrantWithdrawal:
    """Ends a grant. Its owner withdraws it, or its grantee declines it, which the owner is not told.

    No credential that is vended from now on has it. When the owner withdraws it, each device of the grantee that holds
    a credential with the folder loses its credentials and gets new ones. `effective_by` says when the last of the old
    ones stops opening the folder.
    """
    return GrantWithdrawal(effective_by=await giving.withdraw(platform, origin, actor, grant_id))


def _grant(given: Given) -> Grant:
    return Grant(
        grant_id=given.id,
        grantee_email=given.grantee_email,
        prefix=given.prefix,
        path=given.path,
        access=given.access,
        quota_bytes=given.quota_bytes,
        created_at=given.created_at,
        expires_at=given.expires_at,
    )
