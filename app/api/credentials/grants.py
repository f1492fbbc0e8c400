"""`/v1/grants`: folders that users share with each other."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.api.provided import BucketDep, PlatformDep
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import MomentInBody, RequestModel, ResponseModel, Timestamp
from app.sharing import giving, receiving
from app.sharing.giving import Given

router = APIRouter(prefix="/v1/grants", tags=["credentials"], route_class=JsonRoute)

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=200)]


class GrantRequest(RequestModel):
    grantee_email: Annotated[str, Field(max_length=1024)]
    path: Annotated[str, Field(examples=["albums/2026/"], max_length=1024)]
    expires_at: Annotated[MomentInBody | None, Field(description="Left out, it is until withdrawn.")] = None


class Grant(ResponseModel):
    """A folder that the caller shares. Whether somebody has the address, and looks at it, is not told."""

    grant_id: UUID
    grantee_email: str
    prefix: str
    path: str
    created_at: Timestamp
    expires_at: Timestamp | None


class GrantPage(ResponseModel):
    items: list[Grant]
    next_cursor: str | None


class ReceivedGrant(ResponseModel):
    """A folder that is shared with the caller."""

    grant_id: UUID
    owner_display_name: str | None
    owner_email: str | None
    prefix: str
    path: str
    created_at: Timestamp
    expires_at: Timestamp | None
    accepted_at: Timestamp | None
    """Null until the caller accepts it: before that, only credentials that name it carry it."""


class ReceivedGrantPage(ResponseModel):
    items: list[ReceivedGrant]
    next_cursor: str | None


class GrantWithdrawal(ResponseModel):
    effective_by: Timestamp
    """When, at the latest, the engine refuses what was vended with the folder: the same whether anything was."""


@router.post("", status_code=201)
async def create_grant(
    platform: PlatformDep, bucket: BucketDep, origin: OriginDep, actor: SignedIn, body: GrantRequest
) -> Grant:
    """Shares a folder, read-only, with whoever has the e-mail address, or will have; a mail tells them.

    A folder that is shared with them until then already is that grant; until another time it is 409 `grant_exists`.
    """
    given = await giving.create(
        platform,
        bucket,
        origin,
        actor,
        email=body.grantee_email,
        path=body.path,
        expires_at=body.expires_at,
    )
    return _grant(given)


@router.get("")
async def list_grants(platform: PlatformDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None) -> GrantPage:
    """What the caller shares, newest first."""
    now = platform.clock.now()
    given, next_cursor = await platform.database.read(giving.list_given, now, actor, limit=limit, cursor=cursor)
    return GrantPage(items=[_grant(grant) for grant in given], next_cursor=next_cursor)


@router.get("/received")
async def list_received_grants(
    platform: PlatformDep, origin: OriginDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None
) -> ReceivedGrantPage:
    """What is shared with the caller, newest first."""
    received, next_cursor = await receiving.list_received(platform, origin, actor, limit=limit, cursor=cursor)
    items = [
        ReceivedGrant(
            grant_id=grant.id,
            owner_display_name=grant.owner_display_name,
            owner_email=grant.owner_email,
            prefix=grant.prefix,
            path=grant.path,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
            accepted_at=grant.accepted_at,
        )
        for grant in received
    ]
    return ReceivedGrantPage(items=items, next_cursor=next_cursor)


@router.post("/received/{grant_id:uuid}/accept", status_code=204, response_class=Response)
async def accept_grant(platform: PlatformDep, origin: OriginDep, actor: SignedIn, grant_id: UUID) -> None:
    """Accepts a folder that is shared with the caller: `include_shared` carries it from now on, on every device.

    A folder that the caller does not want is declined, before or after, by `DELETE /v1/grants/{grant_id}`. Its owner is
    told neither.
    """
    await receiving.accept(platform, origin, actor, grant_id)


@router.delete("/{grant_id:uuid}", status_code=202)  # `/received` is none
async def withdraw_grant(platform: PlatformDep, origin: OriginDep, actor: SignedIn, grant_id: UUID) -> GrantWithdrawal:
    """Ends a grant: its owner takes it back, or its grantee wants it no more, which its owner is not told.

    No credential that is vended from now on has it. Where its owner takes it back, each device of its grantee that
    holds one which has it loses its credentials, and gets new ones. `effective_by` says when the last of them opens it
    no more.
    """
    return GrantWithdrawal(effective_by=await giving.withdraw(platform, origin, actor, grant_id))


def _grant(given: Given) -> Grant:
    return Grant(
        grant_id=given.id,
        grantee_email=given.grantee_email,
        prefix=given.prefix,
        path=given.path,
        created_at=given.created_at,
        expires_at=given.expires_at,
    )
