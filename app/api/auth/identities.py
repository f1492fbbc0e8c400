"""`/v1/me/identities`: the outside identities that a user may sign in with."""

from uuid import UUID

from fastapi import APIRouter, Response

from app.api.auth.wire import AuthorizationCode
from app.api.provided import PlatformDep, ProvidersDep
from app.auth import identities
from app.http.guards import OriginDep, SignedIn, SteppedUp
from app.http.routes import JsonRoute
from app.http.wire import RequestModel, ResponseModel, Timestamp
from app.platform.limits import address_key
from app.records.models import Identity

router = APIRouter(prefix="/v1/me/identities", tags=["accounts"], route_class=JsonRoute)


class LinkIdentityRequest(RequestModel):
    provider: str
    id_token: str
    authorization_code: AuthorizationCode | None = None


class LinkedIdentity(ResponseModel):
    identity_id: UUID
    provider: str
    email: str | None
    """The address that the provider last sent. Null if it sent none."""
    created_at: Timestamp
    last_used_at: Timestamp
    """When the user last signed in with it, or linked it."""


class IdentityPage(ResponseModel):
    items: list[LinkedIdentity]
    next_cursor: str | None


@router.get("")
async def list_identities(platform: PlatformDep, actor: SignedIn) -> IdentityPage:
    """The caller's outside identities, oldest first. One page has all of them."""
    linked = await platform.database.read(identities.list_linked, user_id=actor.user_id)
    return IdentityPage(items=[linked_identity(row) for row in linked], next_cursor=None)


@router.post("", status_code=201)
async def link_identity(
    body: LinkIdentityRequest, platform: PlatformDep, providers: ProvidersDep, origin: OriginDep, actor: SteppedUp
) -> LinkedIdentity:
    """Links an outside identity to the caller. The answer is the same if the caller has it already. A guest stops being
    a guest.
    """
    await platform.limiter.hit("oidc", address_key(origin.address))
    return linked_identity(
        await identities.link(
            platform,
            providers,
            origin,
            actor,
            provider=body.provider,
            id_token=body.id_token,
            authorization_code=body.authorization_code,
        )
    )


@router.delete("/{identity_id}", status_code=204, response_class=Response)
async def unlink_identity(identity_id: UUID, platform: PlatformDep, origin: OriginDep, actor: SteppedUp) -> None:
    """Removes one of the caller's outside identities, unless it is the last way to sign in."""
    await platform.database.write(
        identities.unlink, platform.vault, origin, platform.clock.now(), actor=actor, identity_id=identity_id
    )


def linked_identity(row: Identity) -> LinkedIdentity:
    return LinkedIdentity(
        identity_id=row.id,
        provider=row.provider,
        email=row.email,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )
